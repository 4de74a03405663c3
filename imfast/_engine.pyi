from typing import Final, Literal, TypedDict, type_check_only

__all__ = ["__version__", "build_info"]

__version__: Final[str]

@type_check_only
class BuildInfo(TypedDict):
    version: str
    revision: str
    profile: Literal["release", "debug"]
    features: list[str]

def build_info() -> BuildInfo: ...
