"""How RoFormers are trained: the settings that both architectures share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor

from my_submission.models.roformer.checkpoint import positions_told, read_network
from my_submission.models.roformer.model import RoformerModel, RoformerParameters
from my_submission.models.roformer.network import Roformer
from my_submission.schema import Name, expecting
from my_submission.weights import Checkpoint


class RoformerSettings(RoformerParameters):
    """`registry.TrainingSettings` of a RoFormer: all that a manifest row says of one, and its sources. An example is
    as long as a chunk. Both papers train one network per source, with `loss: spectral_l1`."""

    architecture: str
    sources: Annotated[tuple[Name, ...], Field(min_length=1), expecting("a list of at least one name")]

    @property
    def example_samples(self) -> int:
        return self.chunk_samples

    def build(self) -> torch.nn.Module:
        return Roformer(self.config(len(self.sources)))

    def parameter_groups(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        return [{"params": [value for value in network.parameters() if value.requires_grad], "scale": 1.0}]

    def chunk_model(self, network: torch.nn.Module, device: torch.device) -> RoformerModel:
        assert isinstance(network, Roformer)
        return RoformerModel(network, self, self.sources, device, torch.float32)

    def read_weights(self, path: Path, checkpoint: Checkpoint) -> Mapping[str, Tensor]:
        assert isinstance(checkpoint.parameters, RoformerParameters)
        return read_network(path, checkpoint.parameters.config(len(checkpoint.sources))).state_dict()

    def export(
        self, network: torch.nn.Module, folder: Path, name: str, record: Mapping[str, Any]
    ) -> tuple[Path, Mapping[str, Any]]:
        """Write `name`.safetensors in float16, without the angles of positions, which follow from the parameters."""
        path = folder / f"{name}.safetensors"
        state = {
            key: value.half().contiguous()
            for key, value in network.state_dict().items()
            if not positions_told(key)
        }
        path.write_bytes(save(state, {"record": json.dumps(record)}))  # save_file lets nobody else read it
        row = self.model_dump(mode="json", exclude={"architecture", "sources"}, exclude_none=True)
        return path, row
