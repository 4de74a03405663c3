from typing import Final, Literal, TypedDict

__version__: Final[str]

class BuildInfo(TypedDict):
    version: str
    revision: str
    profile: Literal["release", "debug"]
    features: list[str]

def build_info() -> BuildInfo: ...
