"""Few numbers of rows ever occur, none much larger than asked for."""

import torch
from pie_backend_torch.rows import EXACT, pad_rows, rounded


def test_rounding_adds_at_most_a_quarter_and_is_exact_for_few_rows() -> None:
    for rows in range(1, 5000):
        assert rows <= rounded(rows) <= rows * 5 / 4
        assert rounded(rounded(rows)) == rounded(rows)
        assert rows > EXACT or rounded(rows) == rows


def test_all_batches_up_to_2048_tokens_need_forty_shapes() -> None:
    assert len({rounded(rows) for rows in range(1, 2049)}) == 40


def test_padding_appends_zero_rows_whatever_the_shape() -> None:
    x = torch.randn(9, 3, 2)
    padded = pad_rows(x)
    assert padded.shape == (10, 3, 2)
    assert torch.equal(padded[:9], x)
    assert not padded[9:].any()
    assert pad_rows(torch.arange(9)).tolist() == [*range(9), 0]
    assert torch.equal(pad_rows(x[:8]), x[:8])
