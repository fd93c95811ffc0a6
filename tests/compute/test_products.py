"""Inner products against float64, by both ways."""

from __future__ import annotations

import pytest
import torch

from recbole_popdcl.compute import products
from recbole_popdcl.compute.products import ProductsWith, inner_products


@pytest.fixture(params=["onednn", "fallback"])
def way(request, monkeypatch):
    if request.param == "fallback":
        monkeypatch.setattr(products, "ONEDNN", None)
        monkeypatch.setattr(products, "PACKED", None)
    elif not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no product by oneDNN")


def table(n, d, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n), dtype=dtype)


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (1, 50, 8), (37, 1, 64), (130, 517, 64), (64, 33, 2048)])
@pytest.mark.parametrize("layout", ["rows", "columns", "part"])
def test_they_equal_float64(way, n, m, d, layout):
    if layout == "rows":
        left, right = table(n, d), table(m, d)
    elif layout == "columns":
        left, right = table(d, n).T, table(d, m).T
    else:
        left, right = table(n + 3, d + 2)[1:-2, 2:], table(m + 3, d + 2)[1:-2, :-2]
    exact = left.double() @ right.double().T
    for found in (inner_products(left, right), ProductsWith(right)(left)):
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6 * d)


@pytest.mark.parametrize(("n", "m", "d"), [(0, 4, 3), (4, 0, 3), (2, 3, 0)])
def test_empty_tables(way, n, m, d):
    assert torch.equal(inner_products(torch.ones(n, d), torch.ones(m, d)), torch.zeros(n, m))
    assert torch.equal(ProductsWith(torch.ones(m, d))(torch.ones(n, d)), torch.zeros(n, m))


def test_numbers_that_are_none_stay_where_they_belong(way):
    left, right = table(3, 4), table(5, 4)
    left[1, 2], right[4, 0] = torch.nan, torch.inf
    for found in (inner_products(left, right), ProductsWith(right)(left)):
        assert found[1].isnan().all()
        assert found[[0, 2], 4].isinf().all()
        assert found[[0, 2], :4].isfinite().all()


def test_other_types_keep_their_precision(way):
    left, right = table(6, 5, torch.float64), table(7, 5, torch.float64)
    assert torch.equal(inner_products(left, right), left @ right.T)
    assert torch.equal(ProductsWith(right)(left), left @ right.T)


def test_a_table_is_packed_once(monkeypatch):
    if products.PACKED is None:
        pytest.skip("this torch has no product by oneDNN")
    packed = []
    pack = products.PACKED
    monkeypatch.setattr(products, "PACKED", lambda *arguments: packed.append(pack(*arguments)) or packed[-1])
    products_with = ProductsWith(table(50, 8))
    for size in (1, 7, 300):
        products_with(table(size, 8))
    assert len(packed) == 1


def test_there_is_no_gradient(way):
    left, right = table(3, 4).requires_grad_(), table(5, 4).requires_grad_()
    assert not inner_products(left, right).requires_grad
    assert not ProductsWith(right)(left).requires_grad


def test_the_users_switch_holds():
    left, right = table(30, 64), table(50, 64)
    with torch.backends.mkldnn.flags(enabled=False), torch.profiler.profile() as profile:
        inner_products(left, right)
        ProductsWith(right)(left)
    assert "mkldnn::_linear_pointwise" not in {event.key for event in profile.key_averages()}


def test_onednn_is_found():
    """A torch that renames the operator would silently make everything slower."""
    assert (products.ONEDNN is not None) == torch.backends.mkldnn.is_available()
    assert (products.PACKED is not None) == torch.backends.mkldnn.is_available()
