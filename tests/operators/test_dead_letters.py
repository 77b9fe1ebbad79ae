"""Rejected records as records of `dead-letters`."""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from assets.batch import Outgoing, Rejected
from operators.dead_letters import dead_letter, dead_letters


def test_a_dead_letter_keeps_the_bytes_and_says_why_and_whence() -> None:
    rejected = Rejected(b"\xff", "not_json", "detail \udcff", "asset-stream/3/7", 3, b"press-01")
    assert dead_letter(rejected, "derive", "decode") == Outgoing(
        partition=3,
        key=b"press-01",
        value=b"\xff",
        id="derive:decode:asset-stream/3/7:not_json",
        headers=[
            ("flow", b"derive"),
            ("step", b"decode"),
            ("reason", b"not_json"),
            ("detail", b"detail ?"),
            ("origin", b"asset-stream/3/7"),
        ],
    )


def test_rejected_records_keep_their_partition_and_order() -> None:
    rejected = [Rejected(b"x", "not_json", "", f"asset-stream/1/{offset}", 1) for offset in (4, 9)]
    out: list[tuple[str, list[Outgoing]]] = []
    df = Dataflow("test")
    errs = op.input("in", df, TestingSource([("0001", rejected)]))
    op.output("out", dead_letters("dead-letters", errs, "derive", "decode"), TestingSink(out))
    run_main(df)
    assert [(key, [(record.partition, record.id) for record in records]) for key, records in out] == [
        ("0001", [(1, "derive:decode:asset-stream/1/4:not_json"), (1, "derive:decode:asset-stream/1/9:not_json")])
    ]
