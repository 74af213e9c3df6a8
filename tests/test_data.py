"""Folder data sets and batches: against pixels written here, hashes by hashlib, and counts within stated tolerances."""

import hashlib
import threading
import time
import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from kdlib.augmentation import AugmentationSettings
from kdlib.data import PicturesOnDemand, TrainingBatches, open_dataset, prefetch, step_rng
from kdlib.errors import InputError
from kdlib.images import to_float

COUNTS = {"ant": 2, "bee": 5, "cat": 40}
SIZE = 8
AS_IS = AugmentationSettings(crop_probability=0.0, flip_probability=0.0)


def write_dataset(root):
    """Flat pictures, each of its own colour: red says the domain, green the number, blue the split. Returns root."""
    for blue, split in enumerate(("train", "val")):
        for red, (domain, count) in enumerate(COUNTS.items()):
            folder = root / split / domain
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (SIZE, SIZE), (red, i, blue)).save(folder / f"{i:02d}.png")
            (folder / "factors.csv").write_text("file\n")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("flat"))


@pytest.fixture(scope="module")
def dataset(root):
    return open_dataset(root, SIZE)


@pytest.fixture(scope="module")
def textured(tmp_path_factory):
    """Two domains of two pictures of noise, 16 px, in both splits."""
    root, rng = tmp_path_factory.mktemp("textured"), np.random.default_rng(0)
    for split in ("train", "val"):
        for domain in ("a", "b"):
            (root / split / domain).mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / domain / f"{i}.png")
    return root


def identify(images):
    """(domain, number) of flat pictures in [-1, 1]."""
    levels = ((images[:, :, 0, 0] + 1) * 127.5).round().long()
    assert (levels[:, 2] == 0).all()  # all from train
    return levels[:, 0], levels[:, 1]


def same(a, b):
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))


def test_open_dataset(root, dataset):
    assert dataset.domains == dataset.train.domains == dataset.val.domains == ("ant", "bee", "cat")
    assert dataset.train.counts == dataset.val.counts == (2, 5, 40)
    for blue, split in enumerate((dataset.train, dataset.val)):
        for red, domain in enumerate(dataset.domains):
            files, images = split.files(red), split.images(red)
            assert files == sorted((root / split.name / domain).glob("*.png"))
            assert images.dtype == torch.uint8 and images.shape == (COUNTS[domain], 3, SIZE, SIZE)
            expected = torch.tensor([[red, i, blue] for i in range(len(files))])
            assert torch.equal(images, expected[:, :, None, None].expand_as(images).to(torch.uint8))


@pytest.mark.parametrize(
    "index", [0, -1, slice(1, 4), slice(0, 0), [3, 3, 0], np.array([2, 1]), torch.tensor([4, 0]), np.arange(5) > 2, []]
)
def test_pictures_on_demand_are_indexed_as_a_tensor(root, dataset, index):
    lazy = open_dataset(root, SIZE, cache_bytes=0)
    pictures, tensor = lazy.train.images(1), dataset.train.images(1)
    assert isinstance(pictures, PicturesOnDemand)
    assert (len(pictures), pictures.shape, pictures.dtype) == (len(tensor), tensor.shape, tensor.dtype)
    expected = tensor[index] if not isinstance(index, list) else tensor[torch.tensor(index, dtype=torch.int64)]
    assert torch.equal(pictures[index], expected)


def test_memory_budget(root):
    needed = 2 * sum(COUNTS.values()) * 3 * SIZE**2
    assert isinstance(open_dataset(root, SIZE, cache_bytes=needed).train.images(0), torch.Tensor)
    assert isinstance(open_dataset(root, SIZE, cache_bytes=needed - 1).train.images(0), PicturesOnDemand)


def test_a_file_that_breaks_later_is_named(tmp_path):
    lazy = open_dataset(write_dataset(tmp_path), SIZE, cache_bytes=0)
    (tmp_path / "train" / "bee" / "03.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"03\.png.*empty"):
        lazy.train.images(1)[:]


def test_content_hash(tmp_path, root, dataset):
    lines = [
        f"{path.parent.name}/{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted((root / "train").glob("*/*.png"))
    ]
    assert dataset.train.content_hash == hashlib.sha256("".join(lines).encode()).hexdigest()
    copy = write_dataset(tmp_path)
    assert open_dataset(copy, 4, cache_bytes=0).train.content_hash == dataset.train.content_hash
    assert dataset.val.content_hash != dataset.train.content_hash
    (copy / "train" / "cat" / "07.png").rename(copy / "train" / "cat" / "70.png")
    renamed = open_dataset(copy, SIZE).train.content_hash
    Image.new("RGB", (SIZE, SIZE), (9, 9, 9)).save(copy / "train" / "cat" / "70.png")
    assert len({dataset.train.content_hash, renamed, open_dataset(copy, SIZE).train.content_hash}) == 3


def test_unusable_data_are_refused(tmp_path):
    with pytest.raises(InputError, match="train is missing"):
        open_dataset(tmp_path, SIZE)
    with pytest.raises(InputError, match="image_size=0"):
        open_dataset(tmp_path, 0)
    write_dataset(tmp_path)
    with pytest.raises(InputError, match="fewer than a batch of 48"):
        open_dataset(tmp_path, SIZE, batch_size=48)


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_unreadable_files_stop_or_are_left_out(tmp_path, cache_bytes):
    bad = write_dataset(tmp_path) / "train" / "bee" / "02.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(InputError, match=r"02\.png"):
        open_dataset(tmp_path, SIZE, cache_bytes=cache_bytes)
    with pytest.warns(UserWarning, match=r"Unreadable files left out: 1\n- .*02\.png"):
        left = open_dataset(tmp_path, SIZE, skip_bad=True, cache_bytes=cache_bytes).train
    assert left.counts == (2, 4, 40) and bad not in left.files(1)
    assert left.images(1)[:][:, 1, 0, 0].tolist() == [0, 1, 3, 4]


def test_warnings_are_issued(root):
    with pytest.warns(UserWarning, match="smaller than 9 px"):
        open_dataset(root, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_dataset(root, SIZE)


def test_shapes_types_and_ranges(dataset):
    batch = TrainingBatches(dataset.train, 6, 16, seed=1).batch(0)
    for images in (batch.x, batch.x_ref, batch.x_ref2):
        assert images.shape == (6, 3, SIZE, SIZE) and images.dtype == torch.float32
        assert images.min() == -1.0 and images.max() < -0.5  # levels 0 to 39 of 255
    for labels in (batch.y, batch.y_ref):
        assert labels.shape == (6,) and labels.dtype == torch.int64
    for latents in (batch.z, batch.z2):
        assert latents.shape == (6, 16) and latents.dtype == torch.float32
    moved = batch.to("meta")
    assert moved.x.device.type == "meta" and moved.z2.shape == (6, 16)


def test_labels_fit_the_pictures(dataset):
    batches = TrainingBatches(dataset.train, 16, 4, seed=2)  # flat pictures stay what they are under crops and flips
    for step in range(20):
        batch = batches.batch(step)
        assert torch.equal(identify(batch.x)[0], batch.y)
        for reference in (batch.x_ref, batch.x_ref2):
            assert torch.equal(identify(reference)[0], batch.y_ref)
        sources = torch.stack([dataset.train.images(d)[i] for d, i in zip(*identify(batch.x))])
        assert torch.equal(batch.x, to_float(sources))
        assert (identify(batch.x_ref)[1] != identify(batch.x_ref2)[1]).all()  # a pair is two different pictures


def test_sampling_is_balanced(dataset):
    steps, size = 300, 16
    batches = TrainingBatches(dataset.train, size, 4, seed=3, augmentation=AS_IS)
    drawn = [batches.batch(step) for step in range(steps)]
    for labels, groups in (("y", ["x"]), ("y_ref", ["x_ref", "x_ref2"])):
        domains = torch.cat([getattr(batch, labels) for batch in drawn])
        total = steps * size
        for domain in range(3):
            # five standard deviations of a binomial with probability 1/3
            assert abs((domains == domain).sum() - total / 3) < 5 * np.sqrt(total * 2 / 9)
        for group in groups:
            numbers = identify(torch.cat([getattr(batch, group) for batch in drawn]))[1]
            for domain, count in enumerate(COUNTS.values()):
                seen = torch.bincount(numbers[domains == domain], minlength=count).numpy()
                assert stats.chisquare(seen).pvalue > 1e-4  # every picture equally likely; the seed is fixed
    sources = torch.cat([batch.y for batch in drawn])
    references = torch.cat([batch.y_ref for batch in drawn])
    table = np.array([[int(((sources == a) & (references == b)).sum()) for b in range(3)] for a in range(3)])
    assert stats.chi2_contingency(table).pvalue > 1e-4  # sources and references are drawn independently


def test_latents_are_standard_normal_and_fresh(dataset):
    batches = TrainingBatches(dataset.train, 8, 16, seed=4)
    drawn = [batches.batch(step) for step in range(100)]
    z, z2 = (torch.cat([getattr(batch, name) for batch in drawn]).numpy().ravel() for name in ("z", "z2"))
    for values in (z, z2):
        assert stats.kstest(values, stats.norm.cdf).pvalue > 1e-4  # fixed seed
        assert len(np.unique(values)) > 0.99 * len(values)  # float32 repeats a value now and then
    assert abs(np.corrcoef(z, z2)[0, 1]) < 5 / np.sqrt(len(z))  # five standard deviations for independent values


def test_a_batch_depends_on_seed_and_step_only(textured):
    """Textured pictures, so that crops and flips show; then another object, on demand, in another order, other global seeds."""
    cached, on_demand = open_dataset(textured, 16).train, open_dataset(textured, 16, cache_bytes=0).train
    batches = TrainingBatches(cached, 8, 16, seed=5)
    first = {step: batches.batch(step) for step in (7, 3, 8)}
    fresh = TrainingBatches(on_demand, 8, 16, seed=5)
    torch.manual_seed(99)
    np.random.seed(99)
    for step in (3, 7, 8, 7):
        assert same(fresh.batch(step), first[step]) and same(batches.batch(step), first[step])
    other = TrainingBatches(cached, 8, 16, seed=6).batch(7)
    for name in ("x", "z", "z2"):
        values = [getattr(batch, name) for batch in (*first.values(), other)]
        assert not any(torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])


def test_global_randomness_is_left_alone(dataset):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    TrainingBatches(dataset.train, 8, 16, seed=5).batch(1)
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()


def test_augmentation_leaves_the_draw_of_pictures_alone(dataset):
    plain = TrainingBatches(dataset.train, 8, 16, seed=7, augmentation=AS_IS).batch(2)
    augmented = TrainingBatches(dataset.train, 8, 16, seed=7).batch(2)
    assert same(plain, augmented)  # flat pictures: cropping and mirroring change nothing


def test_augmentation_reaches_every_picture(textured):
    split = open_dataset(textured, 16).train
    plain = TrainingBatches(split, 200, 2, seed=1, augmentation=AS_IS).batch(0)
    augmented = TrainingBatches(split, 200, 2, seed=1).batch(0)
    for name in ("x", "x_ref", "x_ref2"):
        untouched = (getattr(plain, name) == getattr(augmented, name)).flatten(1).all(1).sum().item()
        # Neither cropped nor mirrored: 1 in 4, sigma 6.1 of 200; or some more, as a crop may be the whole picture. Five sigma
        # below, ten above.
        assert 50 - 5 * 6.1 < untouched < 50 + 10 * 6.1


def test_random_numbers_are_pinned():
    """Numbers drawn with NumPy 2.4; should another version draw others, resumed runs would change silently."""
    assert step_rng(777, 12, "latents").standard_normal(3, dtype=np.float32).tolist() == [
        -1.1434390544891357,
        1.6510004997253418,
        0.9731412529945374,
    ]
    assert step_rng(777, 12, "pictures").integers(1000, size=4).tolist() == [79, 160, 20, 786]


def test_impossible_settings(dataset):
    for values, message in (((0, 16, 1), "batch_size=0"), ((8, 0, 1), "latent_dim=0"), ((8, 16, -1), "seed=-1")):
        with pytest.raises(InputError, match=message):
            TrainingBatches(dataset.train, *values)
    with pytest.raises(InputError, match="step=-1"):
        TrainingBatches(dataset.train, 8, 16, 1).batch(-1)
    with pytest.raises(InputError, match="depth=0"):
        next(prefetch(TrainingBatches(dataset.train, 8, 16, 1), 0, 1, depth=0))


def running():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_prefetching_changes_nothing(dataset, depth):
    batches = TrainingBatches(dataset.train, 4, 16, seed=8)
    got = list(prefetch(batches, 5, 12, depth))
    assert [step for step, _ in got] == list(range(5, 12))
    assert all(same(batch, batches.batch(step)) for step, batch in got)
    assert not running()
    assert list(prefetch(batches, 5, 5)) == []


class Recorder:
    """Stands for TrainingBatches: remembers which steps were asked for, fails at one of them."""

    def __init__(self, fails_at=None):
        self.made = []
        self.fails_at = fails_at

    def batch(self, step):
        if step == self.fails_at:
            raise InputError(f"step {step} cannot be made")
        self.made.append(step)
        return step


def wait_until(condition):
    deadline = time.monotonic() + 10  # far more than a thread needs to be scheduled
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_the_next_batches_are_made_while_one_is_used():
    source = Recorder()
    ahead = prefetch(source, 0, 100, depth=3)
    assert next(ahead) == (0, 0)
    assert wait_until(lambda: len(source.made) == 4)
    time.sleep(0.05)
    assert source.made == [0, 1, 2, 3]  # and no further ahead
    ahead.close()
    assert not running()


def test_errors_arrive_at_their_step():
    seen = []
    with pytest.raises(InputError, match="step 3 cannot be made"):
        for step, _ in prefetch(Recorder(fails_at=3), 0, 10, depth=5):
            seen.append(step)
    assert seen == [0, 1, 2] and not running()


def test_an_abandoned_iterator_ends_its_thread():
    def train():
        for step, _ in prefetch(Recorder(), 0, 10**9):
            if step == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert wait_until(lambda: not running())
    ahead = prefetch(Recorder(), 0, 10**9)
    next(ahead)
    assert running()
    del ahead
    assert wait_until(lambda: not running())
