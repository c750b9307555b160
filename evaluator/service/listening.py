"""Sounds and pictures of an entry's tracks, on benchmarks whose references are open; they are files by now."""

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from evaluator.service import entries, shown_tracks
from evaluator.service.access import Anybody, Here
from evaluator.service.errors import Refused
from evaluator.service.settings import Settings
from evaluator.service.tables import PUBLIC_PART, Entry

router = APIRouter(include_in_schema=False, default_response_class=Response)


def tracks_of(settings: Settings, entry: Entry) -> dict[int, str]:
    """{number: name} of the tracks that can be heard; none of a hidden benchmark, whatever files there are."""
    if not entry.benchmark.is_open:
        return {}
    place = settings.entry_folder(entry.id) / shown_tracks.FOLDER
    tracks = entry.benchmark.tracks
    return {
        index: str(tracks[index]["name"])
        for index in shown_tracks.chosen(tracks, PUBLIC_PART)
        if (place / str(index)).is_dir()
    }


@router.get("/entries/{number}/tracks/{index}/{name}")
def shown(number: int, index: int, name: str, here: Here, caller: Anybody) -> FileResponse:
    """A sound or a picture of one track."""
    with here.database.reading() as session:
        entry = entries.find_visible(session, number, caller)
        seen = entries.scores_visible(entry, caller) and index in tracks_of(here.settings, entry)
        known = shown_tracks.files(entry.stems)
    path = here.settings.entry_folder(number) / shown_tracks.FOLDER / str(index) / name
    if not (seen and name in known and path.is_file()):
        raise Refused("There is nothing at this address.", 404)
    return FileResponse(path, media_type=shown_tracks.KINDS[path.suffix][0])
