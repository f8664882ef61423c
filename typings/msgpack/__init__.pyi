"""Types of the part of msgpack that this project uses: it ships none."""

from collections.abc import Callable
from typing import Any, BinaryIO

class UnpackException(Exception): ...
class OutOfData(UnpackException): ...

class Unpacker:
    def __init__(self, *, read_size: int = 0, strict_map_key: bool = True, max_buffer_size: int = ...) -> None: ...
    def feed(self, next_bytes: bytes | memoryview) -> None: ...
    def unpack(self) -> Any: ...
    def tell(self) -> int: ...

def packb(
    o: Any,
    *,
    default: Callable[[Any], Any] | None = None,
    use_bin_type: bool = True,
    strict_types: bool = False,
    datetime: bool = False,
    unicode_errors: str | None = None,
) -> bytes: ...
def unpackb(
    packed: bytes | bytearray | memoryview,
    *,
    raw: bool = False,
    use_list: bool = True,
    strict_map_key: bool = True,
    timestamp: int = 0,
    max_str_len: int = -1,
    max_bin_len: int = -1,
    max_array_len: int = -1,
    max_map_len: int = -1,
    max_ext_len: int = -1,
    object_pairs_hook: Callable[[list[tuple[Any, Any]]], Any] | None = None,
) -> Any: ...
def unpack(stream: BinaryIO, *, raw: bool = False, strict_map_key: bool = True) -> Any: ...
