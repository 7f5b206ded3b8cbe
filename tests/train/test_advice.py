"""Warnings come when they help and only then."""

from __future__ import annotations

from nanotrain.observe.advice import Gap, low_mfu


def test_a_low_mfu_names_the_likely_cause():
    assert low_mfu(0.42, data_share=0.0, micro_tokens=65_536) is None
    assert low_mfu(0.0, data_share=0.0, micro_tokens=65_536) is None
    assert "batches take 30 %" in str(low_mfu(0.1, data_share=0.3, micro_tokens=65_536))
    assert "train.micro_rows" in str(low_mfu(0.1, data_share=0.0, micro_tokens=2048))
    assert "train.compile" in str(low_mfu(0.1, data_share=0.0, micro_tokens=65_536))


def told(pairs: list[tuple[float, float]]) -> list[bool]:
    gap = Gap()
    answers = []
    for train, validation in pairs:
        for _ in range(50):
            gap.train(train)
        answers.append(gap.validation(validation) is not None)
    return answers


def test_a_growing_gap_is_told_once():
    assert told([(5 - i, 5.0) for i in range(6)]) == [False, False, False, False, True, False]


def test_a_steady_or_negative_gap_is_not_told():
    assert not any(told([(5 - i / 2, 5.1 - i / 2) for i in range(8)]))
    assert not any(told([(5 - i / 2, 4.5 - i / 2) for i in range(8)]))
    assert not any(told([(3.0, 3.001 + i / 1000) for i in range(8)]))
