"""Several processes that train one model: each works on its share of a batch, and gradients are averaged once a step.

`torchrun` and `accelerate launch` start the processes and say so in the environment (`RANK`, `WORLD_SIZE`,
`LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`); without them there is one.
"""

import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed

__all__ = ["Processes"]

_BUCKET_BYTES = 25 << 20


class Processes:
    """This process among its like.

    Args:
        device: where this process computes; None: the CUDA device of its local rank where there is one, else the CPU.

    Raises:
        ValueError: more processes on this machine than CUDA devices, or a number in the environment that is none.
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        try:
            self.world, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
            local = int(os.environ.get("LOCAL_RANK", "0"))
        except ValueError as error:
            raise ValueError(f"WORLD_SIZE, RANK and LOCAL_RANK must be whole numbers: {error}") from None
        if device is None:
            device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
            if torch.cuda.is_available() and local >= torch.cuda.device_count():
                raise ValueError(f"process {local} has no CUDA device: this machine has {torch.cuda.device_count()}")
        self.device = torch.device(device)
        self._began = False
        if self.world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            self._began = True

    @property
    def first(self) -> bool:
        """Whether this process writes files and tells how far things are."""
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """The sums of each value over all processes."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return list(tensor.tolist())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the mean of all processes' gradients; one that lacks a gradient counts as 0."""
        if self.world == 1:
            return
        for bucket in _buckets(parameters):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            distributed.all_reduce(flat)
            flat /= self.world
            for parameter, mean in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                parameter.grad = mean.view_as(parameter).clone()

    def close(self) -> None:
        """Leave the group, if this object joined it."""
        if self._began:
            distributed.destroy_process_group()
            self._began = False


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Trainable parameters, as many together as one message carries; of one dtype each."""
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if bucket and (size + parameter.nbytes > _BUCKET_BYTES or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.nbytes
    if bucket:
        yield bucket
