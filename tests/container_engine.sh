#!/usr/bin/env bash
# Brings up a container engine for the tests marked `container`, on a Debian machine, as root:
#
#   source tests/container_engine.sh start   # then: SDX_REQUIRE_ENGINE=1 python -m pytest -m container
#   source tests/container_engine.sh stop    # ends the service and removes what was made
#
# Installs Podman, starts its Docker-compatible service on a socket of our own, makes a base image with
# debootstrap, and exports DOCKER_HOST and SDX_BASE_IMAGE. Registries may be out of reach, so nothing is pulled;
# pip's settings and local package folders of this machine are mounted into builds and never copied into an image.

sdx_folder=${SDX_ENGINE_FOLDER:-/var/tmp/sdx-engine}
sdx_base=localhost/sdx-base:latest
sdx_suite=${SDX_DEBIAN_SUITE:-bookworm}

sdx_install() {
    local missing=()
    for tool in podman runc debootstrap iptables; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    for part in netavark aardvark-dns; do # Debian's podman only recommends the first; compose.yaml needs both
        [ -e "/usr/lib/podman/$part" ] || missing+=("$part")
    done
    [ ${#missing[@]} -eq 0 ] && return
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes "${missing[@]}" >/dev/null
}

# What pip is told on this machine, in one file, and the folders that it names.
sdx_pip_settings() {
    python3 - "$sdx_folder/pip.conf" <<'PYTHON'
import re
import subprocess
import sys
from pathlib import Path

listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
settings = {}
for line in listed.stdout.splitlines():
    key, _, value = line.partition("=")
    settings[key.split(".", 1)[1].lstrip(".")] = value.strip("'\"").replace("\\n", " ")
target = Path(sys.argv[1])
target.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
named = {part for value in settings.values() for part in re.findall(r"(?:(?<=file://)|(?<![\w/:.]))/[^\s,]+", value)}
print(f"{target}:/etc/pip.conf:ro")
for path in sorted(Path(name) for name in named):
    found = path if path.exists() and path.name != "simple" else path.parent
    if found.exists() and found != Path("/"):
        print(f"{found}:{found}:ro")
PYTHON
}

sdx_configure() {
    local volumes
    volumes=$(sdx_pip_settings | sort -u | sed 's/.*/"&"/' | paste -sd, -)
    cat >"$sdx_folder/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
volumes = [$volumes]

[engine]
runtime = "runc"
CONF
}

# Where this machine's apt takes the suite from.
sdx_mirror() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' "Created-By: Packages" |
        awk -v suite="$sdx_suite" '$2 == suite { print $1; exit }'
}

sdx_base_image() {
    podman image exists "$sdx_base" && return
    local root=$sdx_folder/root
    rm -rf "$root"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        "$sdx_suite" "$root" "$(sdx_mirror)" >"$sdx_folder/debootstrap.log" 2>&1 || {
        tail -5 "$sdx_folder/debootstrap.log" >&2
        return 1
    }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" -c . | podman import --quiet - "$sdx_base" >/dev/null || return 1
    rm -rf "$root"
}

# A process id in a file may be another process's by now; the service's own answer is not mistaken.
sdx_answers() {
    podman --remote --url "unix://$sdx_folder/socket" version >/dev/null 2>&1
}

sdx_start() {
    mkdir -p "$sdx_folder" && sdx_install || return 1
    export CONTAINERS_CONF=$sdx_folder/containers.conf
    sdx_configure && sdx_base_image || return 1
    if ! sdx_answers; then
        rm -f "$sdx_folder/socket"
        # From its own folder: what monitors a container leaves a file there when memory runs out.
        (cd "$sdx_folder" && exec nohup podman system service --time=0 "unix://$sdx_folder/socket") \
            >"$sdx_folder/service.log" 2>&1 &
        echo $! >"$sdx_folder/pid"
    fi
    for _ in $(seq 100); do
        sdx_answers && break
        sleep 0.1
    done
    export DOCKER_HOST=unix://$sdx_folder/socket SDX_BASE_IMAGE=$sdx_base
}

sdx_stop() {
    if [ -f "$sdx_folder/pid" ]; then
        kill "$(cat "$sdx_folder/pid")" 2>/dev/null || true
    fi
    for image in $(podman images --quiet --filter label=sdx.evaluator=image | sort -u) \
        $(podman images --quiet --filter label=sdx.tests=image | sort -u) localhost/sdx-quality-checker "$sdx_base"; do
        podman image rm --force "$image" >/dev/null 2>&1 || true
    done
    rm -rf "$sdx_folder"
    unset DOCKER_HOST SDX_BASE_IMAGE CONTAINERS_CONF
}

case ${1:-start} in
    start) sdx_start ;;
    stop) sdx_stop ;;
    *) echo "usage: source $0 [start|stop]" >&2 && false ;;
esac
