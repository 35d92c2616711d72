"""The encoder, its batches, and training that goes on where it stopped. Needs PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress

from modelkit import e5s1, export, train
from modelkit.encoder import Encoder, from_source
from modelkit.train import Encoded, Plan, Trainer
from tests.unit.modelkit.e5s1_image import PIECES, image

PLAN = Plan(
    epochs=3,
    cycle=3,
    cool_down=1,
    passes={"one": 3.0, "two": 1.5},
    batch_rows=4,
    batch_tokens=40,
    frozen_layers={2: 1},
    dropout=0.0,
    encoder_rate=1e-3,
)


def encoder() -> Encoder:
    return from_source(e5s1.parse(image()[0]), np.arange(len(PIECES)), dropout=PLAN.dropout)


def tasks() -> list[Encoded]:
    generator = np.random.default_rng(0)
    ids = [np.array([0, *([4 + i % 3] * (1 + i % 5)), 2]) for i in range(20)]
    two = [np.array([0, *generator.integers(4, 12, 1 + i % 4), 2]) for i in range(11)]
    return [Encoded("one", ids, np.arange(20) % 3, 3), Encoded("two", two, np.append(np.arange(10) % 2, -1), 2)]


def test_the_graph_and_the_module_are_the_same_function() -> None:
    import onnxruntime

    module = encoder().eval()
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    data = export.serialise(export.build(module.shape, state, export.Precision.FP32))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    ids, mask = train.pad([np.array([0, 5, 6, 2]), np.array([0, 2])])
    with torch.no_grad():
        wanted = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    got = session.run(None, {"input_ids": ids, "attention_mask": mask.astype(np.int64)})[0]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_every_row_is_seen_as_often_as_planned() -> None:
    seen = [batch for epoch in range(PLAN.epochs) for batch in train.batches_of_epoch(tasks(), PLAN, epoch)]
    assert sum(len(batch.ids) for batch in seen if batch.task == "one") == 60
    assert sum(len(batch.ids) for batch in seen if batch.task == "two") == round(11 * 1.5)
    assert all(len(batch.ids) <= 4 for batch in seen)
    assert all(batch.ids.numel() <= 40 for batch in seen)


def test_an_outlier_asks_for_the_same_probability_of_every_class() -> None:
    targets = train._target_distribution(np.array([1, -1]), 4, 0.1)
    np.testing.assert_allclose(targets.numpy(), [[0.025, 0.925, 0.025, 0.025], [0.25] * 4], rtol=1e-5)


def test_long_rows_keep_their_end_token() -> None:
    from modelkit import prune

    source = e5s1.parse(image()[0])
    tokenizer = prune.pruned_tokenizer(source, np.arange(len(PIECES)))
    rows = train.encode_rows(tokenizer, ["a" * 50, "a"], 8)
    assert len(rows[0]) == 8
    assert rows[0][-1] == 2


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [train.one_cycle(p / 100, 0.1) for p in range(101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 10
    assert rates[0] < 0.05
    assert rates[100] == pytest.approx(0.0)


def test_the_cool_down_starts_where_the_cycle_is_and_ends_at_nothing() -> None:
    plan = Plan(epochs=6, cycle=8, cool_down=2)
    assert plan.rate(3.999) == pytest.approx(plan.rate(4.0), abs=1e-3)
    assert plan.rate(5.0) == pytest.approx(plan.rate(4.0) / 2)
    assert plan.rate(6.0) == 0.0
    whole = Plan(epochs=2, cycle=2, cool_down=2)
    assert whole.rate(0.2) == pytest.approx(1.0)
    assert whole.rate(1.1) == pytest.approx(0.5)


def test_a_second_run_starts_with_the_rows_that_the_first_has_not_seen() -> None:
    first = Plan(epochs=2, passes={"one": 0.6, "two": 0.5}, seed=4)
    second = Plan(epochs=1, passes={"one": 0.4, "two": 0.5}, seen=first.passes, seed=4)
    one = tasks()[0]
    seen = np.concatenate([train._portion(one, first, epoch) for epoch in range(2)])
    unseen = train._portion(one, second, 0)
    assert sorted([*seen, *unseen]) == list(range(20))


def test_layers_freeze_from_below() -> None:
    plan = Plan(frozen_layers={2: 4, 4: 6})
    assert [plan.frozen_at(epoch) for epoch in range(5)] == [None, None, 4, 4, 6]


def test_gradients_of_two_workers_are_those_of_one_batch(tmp_path: Path) -> None:
    trainer = Trainer(encoder(), tasks(), PLAN, tmp_path)
    trainer.encoder.eval()
    batch = train.batches_of_epoch(tasks(), PLAN, 0)[0]
    loss = trainer._accumulate_gradients(batch)
    got = trainer.encoder.layers[0].up.weight.grad.clone()
    logits = trainer.heads[batch.task](PLAN.scale * trainer.encoder(batch.ids, batch.mask))
    whole = torch.nn.functional.cross_entropy(logits, batch.targets)
    (wanted,) = torch.autograd.grad(whole, [trainer.encoder.layers[0].up.weight])
    assert loss == pytest.approx(whole.item(), rel=1e-5)
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-6)


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    straight = Trainer(encoder(), tasks(), PLAN, tmp_path / "straight")
    with Progress(disable=True) as progress:
        straight.run(progress)

    class Stopped(Exception):
        pass

    first = Trainer(encoder(), tasks(), PLAN, tmp_path / "halted")
    save = first.save

    def save_then_stop() -> None:
        save()
        raise Stopped

    first.save = save_then_stop  # type: ignore[method-assign]
    with Progress(disable=True) as progress, pytest.raises(Stopped):
        first.run(progress)
    second = Trainer(encoder(), tasks(), PLAN, tmp_path / "halted")
    assert second.resume()
    assert second.epoch == 1
    with Progress(disable=True) as progress:
        second.run(progress)
    for name, value in straight.encoder.state_dict().items():
        np.testing.assert_allclose(second.encoder.state_dict()[name].numpy(), value.numpy(), atol=1e-4, err_msg=name)


def test_the_mean_of_states_is_taken_name_by_name() -> None:
    mean = train.mean_state([{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 6.0])}])
    assert mean["a"].tolist() == [2.0, 4.0]


def test_another_plan_does_not_go_on(tmp_path: Path) -> None:
    Trainer(encoder(), tasks(), PLAN, tmp_path).save()
    assert not Trainer(encoder(), tasks(), Plan(epochs=9, passes=PLAN.passes), tmp_path).resume()
