"""Losses in float64 written from their formulas, a pair at a time; each takes the arguments of the loss it stands for.

They share no code with the package. Beside them stands what their comparisons need: random batches and gradients.
"""

from __future__ import annotations

import math

import torch

TEMPERATURES = (0.05, 0.1, 0.3, 1.0)


def batch(n: int, seed: int, dtype=torch.float64, d: int = 6):
    """Embeddings of n users and their items [n, d], a weight in [0, 1) and an omega+ in [0, 0.6) of each pair [n]."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.randn(n, d, generator=generator, dtype=dtype)
    items = torch.randn(n, d, generator=generator, dtype=dtype)
    weights = torch.rand(n, generator=generator, dtype=dtype)
    omega = torch.rand(n, generator=generator, dtype=dtype) * 0.6
    return users, items, weights, omega


def value_and_gradients(function, *tensors):
    """Value of a function of tensors, and its gradient for each of them."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    return value.detach(), torch.autograd.grad(value, leaves, materialize_grads=True)


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def total(values, like):
    """Sum of scalars, a tensor of the type of ``like`` also where there are none."""
    return sum(values, torch.zeros((), dtype=like.dtype))


# -- in-batch negatives -----------------------------------------------------------------------------------------------


def rows_of(users, items, false_negatives=None):
    """Of each pair k: k, f(u, i), {j: f(u, j)} of its negatives."""
    for k, user in enumerate(users):
        left_out = {k} if false_negatives is None else {k, *false_negatives[k].nonzero().flatten().tolist()}
        yield k, cosine(user, items[k]), {j: cosine(user, item) for j, item in enumerate(items) if j not in left_out}


def ssm(users, items, *, temperature, false_negatives=None):
    loss = 0.0
    for _, p, negatives in rows_of(users, items, false_negatives):
        top = torch.exp(p / temperature)
        loss = loss - torch.log(top / (top + total((torch.exp(f / temperature) for f in negatives.values()), p)))
    return loss / len(users)


def popdcl(
    users,
    items,
    *,
    not_chosen,
    omega_plus,
    temperature,
    positive_margin=True,
    negative_margin="first_order",
    negative_score_floor=None,
    false_negatives=None,
):
    """Eq. 1, 5, 6, 9 and 10."""
    loss = 0.0
    for k, p, negatives in rows_of(users, items, false_negatives):
        m_plus = 0.0
        if positive_margin:
            m_plus = sigmoid(not_chosen[k] * total(negatives.values(), p) / max(len(negatives), 1))
        top = torch.exp((p - m_plus) / temperature)
        bottom = top
        for f in negatives.values():
            if negative_margin == "exact":
                term = torch.exp(f / temperature) - omega_plus[k] * torch.exp(p / temperature)
                least = torch.tensor(math.exp(-1 / temperature), dtype=term.dtype)
                bottom = bottom + torch.maximum(term / (1 - omega_plus[k]), least)
                continue
            m_minus, outside = 0.0, f
            if negative_margin == "first_order":
                m_minus = omega_plus[k] / (1 - omega_plus[k]) * torch.exp((p - f) / temperature)
                outside = f if negative_score_floor is None else torch.clamp(f, min=negative_score_floor)
            bottom = bottom + torch.exp((outside - m_minus) / temperature)
        loss = loss - torch.log(top / bottom)
    return loss / len(users)


def hcl(users, items, *, temperature, omega_plus, concentration, false_negatives=None):
    loss = 0.0
    for _, p, negatives in rows_of(users, items, false_negatives):
        n = len(negatives)
        if not n:
            continue
        hardness = {j: torch.exp(concentration * f / temperature) for j, f in negatives.items()}
        mean = sum(hardness.values()) / n
        weighted = sum(hardness[j] / mean * torch.exp(f / temperature) for j, f in negatives.items())
        g = (weighted - n * omega_plus * torch.exp(p / temperature)) / (1 - omega_plus)
        g = torch.maximum(g, torch.tensor(n * math.exp(-1 / temperature), dtype=g.dtype))
        loss = loss - torch.log(torch.exp(p / temperature) / (torch.exp(p / temperature) + g))
    return loss / len(users)


def dcl(users, items, **arguments):
    return hcl(users, items, concentration=0.0, **arguments)  # all weights are 1


def bc_loss(users, items, *, margins, temperature, false_negatives=None):
    loss = 0.0
    for k, p, negatives in rows_of(users, items, false_negatives):
        theta = torch.arccos(p)
        top = torch.exp(torch.cos(theta + torch.minimum(margins[k], math.pi - theta)) / temperature)
        loss = loss - torch.log(top / (top + total((torch.exp(f / temperature) for f in negatives.values()), p)))
    return loss / len(users)


def adv_infonce(
    users,
    items,
    *,
    hardness_users,
    hardness_items,
    temperature,
    negative_weight,
    false_negatives=None,
):
    loss = 0.0
    for k, p, negatives in rows_of(users, items, false_negatives):
        hardness = {j: torch.exp(hardness_users[k] @ hardness_items[j]) for j in negatives}
        shares = {j: h / sum(hardness.values()) for j, h in hardness.items()}
        n, top = len(negatives), torch.exp(p / temperature)
        others = total((n * shares[j] * torch.exp(f / temperature) for j, f in negatives.items()), p)
        loss = loss - torch.log(top / (top + negative_weight * others))
    return loss / len(users)


def bsl(
    users,
    items,
    *,
    user_ids,
    temperature,
    positive_temperature,
    negative_exponent=None,
    false_negatives=None,
):
    rho = temperature / positive_temperature if negative_exponent is None else negative_exponent
    loss = 0.0
    for k, _, negatives in rows_of(users, items, false_negatives):
        own = [cosine(users[m], items[m]) for m in range(len(users)) if user_ids[m] == user_ids[k]]
        mean_own = sum(torch.exp(f / positive_temperature) for f in own) / len(own)
        mean = torch.tensor(math.exp(-1 / temperature))
        if negatives:
            mean = sum(torch.exp(f / temperature) for f in negatives.values()) / len(negatives)
        loss = loss - torch.log(mean_own) + rho * torch.log(mean)
    return loss / len(users)


SIGMA = {
    "relu": lambda d: torch.relu(d + 1),
    "tanh": lambda d: torch.tanh(d) + 1,
    "atan": lambda d: torch.atan(d) + 1,
}


def psl(users, items, *, temperature, surrogate="relu", false_negatives=None):
    loss = 0.0
    for _, p, negatives in rows_of(users, items, false_negatives):
        if negatives:
            terms = (SIGMA[surrogate]((f - p) / 2) ** (1 / temperature) for f in negatives.values())
            loss = loss + torch.log(sum(terms))
    return loss / len(users)


def sl_at_k(users, items, *, thresholds, temperature, weight_temperature, false_negatives=None):
    loss = 0.0
    for k, p, negatives in rows_of(users, items, false_negatives):
        if negatives:
            weight = sigmoid((p - thresholds[k]) / weight_temperature)
            loss = loss + weight * torch.log(sum(torch.exp((f - p) / temperature) for f in negatives.values()))
    return loss / len(users)


def ccl(users, items, *, margin, negative_weight, false_negatives=None):
    loss = 0.0
    for _, p, negatives in rows_of(users, items, false_negatives):
        excess = total((torch.relu(f - margin) for f in negatives.values()), p) / max(len(negatives), 1)
        loss = loss + 1 - p + negative_weight * excess
    return loss / len(users)


def direct_au(users, items, *, uniformity_weight):
    users, items = ([row / row.norm() for row in table] for table in (users, items))

    def uniformity(rows):
        pairs = [torch.exp(-2 * ((x - y) ** 2).sum()) for k, x in enumerate(rows) for y in rows[:k]]
        return torch.log(sum(pairs) / len(pairs))

    alignment = sum(((user - item) ** 2).sum() for user, item in zip(users, items)) / len(users)
    return alignment + uniformity_weight * (uniformity(users) + uniformity(items)) / 2


# -- triples of a user, an item and a sampled negative ----------------------------------------------------------------


def differences(users, positives, negatives):
    return [u @ i - u @ j for u, i, j in zip(users, positives, negatives)]


def bpr(users, positives, negatives):
    return ips_cn(users, positives, negatives, weights=[1.0] * len(users))


def ips_cn(users, positives, negatives, *, weights):
    x = differences(users, positives, negatives)
    return sum(-w * torch.log(sigmoid(value)) for value, w in zip(x, weights)) / len(x)


def sam_reg(users, positives, negatives, *, popularity):
    x, n = [sigmoid(value) for value in differences(users, positives, negatives)], len(users)
    bpr = sum(-torch.log(value) for value in x) / n
    mean_x, mean_y = sum(x) / n, sum(popularity) / n
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, popularity))
    variances = sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in popularity)
    return bpr, covariance**2 / variances


def macr(
    positive_scores,
    negative_scores,
    *,
    user_logits,
    positive_logits,
    negative_logits,
    item_branch_weight,
    user_branch_weight,
):
    loss = 0.0
    for scores, item_logits, sign in ((positive_scores, positive_logits, 1), (negative_scores, negative_logits, -1)):
        for y_k, y_u, y_i in zip(scores, user_logits, item_logits):  # 1 - sigmoid(x) is sigmoid(-x)
            loss = loss - torch.log(sigmoid(sign * y_k * sigmoid(y_i) * sigmoid(y_u)))
            loss = loss - item_branch_weight * torch.log(sigmoid(sign * y_i))
            loss = loss - user_branch_weight * torch.log(sigmoid(sign * y_u))
    return loss / len(user_logits)


def pd(users, positives, negatives, *, positive_popularity, negative_popularity):
    def g(score):
        return score + 1 if score > 0 else torch.exp(score)

    loss = 0.0
    for k, user in enumerate(users):
        positive, negative = g(user @ positives[k]), g(user @ negatives[k])
        loss = loss - torch.log(sigmoid(positive * positive_popularity[k] - negative * negative_popularity[k]))
    return loss / len(users)


def dice(users, positives, negatives, *, more_popular):
    half, n = users.shape[1] // 2, len(users)
    click = of_interest = of_conformity = 0.0
    for k, user in enumerate(users):
        interest, conformity = (
            user[part] @ positives[k, part] - user[part] @ negatives[k, part]
            for part in (slice(half), slice(half, None))
        )
        click = click - torch.log(sigmoid(interest + conformity))
        if more_popular[k]:
            of_interest = of_interest - torch.log(sigmoid(interest))
        of_conformity = of_conformity - torch.log(sigmoid(-conformity if more_popular[k] else conformity))
    return click / n, of_interest / n, of_conformity / n
