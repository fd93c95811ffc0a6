"""Random and damaged files through every reader: no crash but our own error, no hang, no growing memory."""

from __future__ import annotations

import resource

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.fuzzing import TARGETS, seeds

EXAMPLES = {"readers": 250, "atomic": 150, "inter": 200, "config": 60, "checkpoint": 300}
PIECES = [
    b"\n", b"\r\n", b"\t", b",", b" ", b";", b":", b'"', b"'", b"[", b"]", b"{", b"}", b"-", b"1", b"1e999", b"nan",
    b"\0", b"\xff", "ü".encode(), b"\xed\xa0\x80", b"user", b"item", b"user_id:token", b"item_id:token",
    b"rating:float", b"label:float_seq", b"&a ", b"*a", b"!!python/object:os.system", b"<<: ", b"seed: ", b"topk",
    b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\xef\xbb\xbf", b"9" * 400, b"x" * 5000, b"(",
    b"ccollections\nOrderedDict\n", b"cos\nsystem\n", b")R", b"(dp0\n", b"q\0", b"h\0", b"Q", b"u.",
]  # fmt: skip


@st.composite
def inputs(draw, target: str) -> bytes:
    """Bytes, pieces that the formats know, or an accepted input with a few places changed."""
    kind = draw(st.sampled_from(["bytes", "pieces", "mutation", "mutation"]))
    if kind == "bytes":
        return draw(st.binary(max_size=300))
    if kind == "pieces":
        return bytes([draw(st.integers(0, 255))]) + b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=30)))
    data = bytearray(draw(st.sampled_from(seeds(target))))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 1, 4, 50])))
        data[start:end] = draw(st.one_of(st.binary(max_size=4), st.sampled_from(PIECES)))
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS)
def test_fuzz(target):
    @settings(
        max_examples=EXAMPLES[target], deadline=20_000, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs(target))
    def only_our_error(data):
        TARGETS[target](data)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    only_our_error()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


# Found by fuzzing, and mended.
FOUND = [
    ("readers", b"\x05user,item"),
    ("atomic", b"\x04user_id:token\titem_id:token\tlabel:token_seq\n1\t\t3\t\n"),
    ("atomic", b"\x04user_ibel:token_seq\n1\x192\ta b\n\n1\t3\t\n"),
    (
        "readers",  # a zip archive with a file of no name
        b"\x05PK\x03\x04\x14\x00\x00\x00\x08\x00\x8a8y]m\xa9\\\x90\x10\x00\x00\x00\x0e\x00\x00\x00\x05\x00\x00\x00x.csv+-N-\xd2\xc9,I\xcd\xe5J\xd41\xe4\x02\x00PK\x01\x02\x14\x03\x14\x00"
        b"\x00\x00\x00\x00\x8a8y]m\xa9\\\x90\x10\x00\x00\x00\x0e\x00\x00\x00\x05\x00\x00=a,b\x03a,b,5.1\xca\xce\x00\x00,2\nvPK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x003\x00\x00\x003\x00\x00\x00\x00\x00",
    ),
    ("readers", b"]a,b,2,2" + b"\x0c" * 90 + b"\n"),  # a form feed: white space to some, not to Arrow
    ("readers", b"'\x85"),  # a blank in the sense of Unicode alone
    ("readers", b"\x07\t"),  # a matrix without values
    ("inter", b"\x05\nuser_id:token\titem_id:token\tis_cl:token\tlabel:token_seq\n"),
    ("inter", b"\4user_id:token\titem_id:token\tlabel:token_seq\n1\t2\ta b\n\n1\t3\t/\n"),
    ("inter", b"\4user_id:token\titem_id:token\n1\t2\n:token\titem_id:token\n"),
    ("inter", b"\3\xef\xbb\xbfuser_id:token item_id:token\r\3user_id:token item_id:token02\n"),
    ("inter", b"\5\nuser_id:token\titem_id:token\tx:float\n1\t2\t1\xfd7zXZ\0\n\n1\t3\t0\n"),
    ("config", b"\0train_neg_sample_args: {sample_num: 1}\n"),
]


@pytest.mark.parametrize(("target", "data"), FOUND)
def test_found(target, data):
    TARGETS[target](data)
