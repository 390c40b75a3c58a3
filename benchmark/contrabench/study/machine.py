"""What a worker needs to know of the machine's switches: plain words that travel."""

from __future__ import annotations

from dataclasses import dataclass

from contrabench.training.runtime import Runtime, make_runtime


@dataclass(frozen=True)
class Machine:
    """The arguments of `make_runtime`, resolved when the study was planned.

    Attributes:
        device: cpu, cuda or mps.
        precision: float32 or bf16.
        threads: CPU threads of a worker.
        compile: use `torch.compile`.
        channels_last: channels-last layout.
    """

    device: str
    precision: str
    threads: int
    compile: bool = False
    channels_last: bool = False

    @classmethod
    def of(cls, runtime: Runtime) -> Machine:
        """The switches of a runtime."""
        return cls(
            device=runtime.device,
            precision=runtime.precision,
            threads=runtime.threads,
            compile=runtime.compile,
            channels_last=runtime.channels_last,
        )

    def runtime(self) -> Runtime:
        """The runtime in this process.

        Raises:
            RequestError: if the device is not there.
        """
        return make_runtime(
            self.device,  # type: ignore[arg-type]
            self.precision,  # type: ignore[arg-type]
            self.threads,
            self.compile,
            self.channels_last,
        )
