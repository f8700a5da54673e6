"""What names a pipeline: a family of models and its options."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

__all__ = ["PipelineConfig"]


class PipelineConfig(NamedTuple):
    """A family of models with its options; `make_model` builds the pipeline.

    Args:
        family: A name of `FAMILIES`.
        options: All of the family's, and any of `PREPARATION`.

    Example:
        >>> config = PipelineConfig("svm", {"gamma": 0.1, "C": 1.0})
        >>> config.name
        '["svm",{"C":1.0,"gamma":0.1}]'
        >>> PipelineConfig.from_name(config.name) == config
        True
    """

    family: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of this configuration in a `History`; equal configurations have the same."""
        return json.dumps([self.family, self.options], sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_name(cls, name: str) -> PipelineConfig | None:
        """The configuration of this name; None if the name is of another kind.

        Example:
            >>> PipelineConfig.from_name("tree") is None
            True
        """
        try:
            family, options = json.loads(name)
        except (ValueError, TypeError):
            return None
        is_config = isinstance(family, str) and isinstance(options, dict)
        return cls(family, options) if is_config else None
