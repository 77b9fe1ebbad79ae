"""Decoding does not depend on what was decoded before: each record is judged by itself, in whichever partition."""

from assets.batch import RawBatch
from assets.frame import encode_frame
from assets.stream import partition_of
from operators.decode import FrameDecoder
from tests.streams import frame

KEY = b"press-01"
HOME = partition_of("press-01", 12)


def raw(partition: int) -> RawBatch:
    """One good frame, in this partition."""
    return RawBatch("asset-stream", partition, 0, 1, [0], [KEY], [encode_frame(frame(1, ("state", "Idle")))])


def test_an_asset_that_is_known_is_refused_in_another_partition_all_the_same() -> None:
    decode = FrameDecoder(12)
    assert decode(raw(HOME))[1] == []
    [rejected] = decode(raw((HOME + 1) % 12))[1]
    assert rejected.reason == "wrong_partition"
    assert rejected == FrameDecoder(12)(raw((HOME + 1) % 12))[1][0]
