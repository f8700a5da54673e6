import pytest
import torch

from quickstudy.errors import DataError
from quickstudy.tasks.augment import (
    AUGMENTS,
    IMAGE_AUGMENTS,
    VECTOR_AUGMENTS,
    add_noise,
    affine,
    chain,
    crop_and_mirror,
    cutout,
    elastic,
    mask_features,
    mix,
    pixel_mask,
    strokes,
    swap_features,
    translate,
)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_affine_keeps_shape_and_range_and_leaves_some_images_alone():
    x = torch.rand(400, 1, 21, 21)
    distorted = affine(x, torch.Generator().manual_seed(0))
    assert distorted.shape == x.shape
    assert float(distorted.min()) >= 0
    assert float(distorted.max()) <= 1 + 1e-5
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(x, distorted, strict=True)]
    assert 0 < sum(same) < 20  # each of seven distortions is left out half the time


def test_affine_moves_a_dot_no_further_than_the_paper_allows():
    side = 105
    x = torch.zeros(300, 1, side, side)
    x[:, 0, 52, 72] = 1.0  # 20 pixels from the centre
    distorted = affine(x, torch.Generator().manual_seed(0))[:, 0]
    places = distorted.flatten(1).argmax(1)
    rows, columns = places // side - 52, places % side - 52
    distance = (rows.square() + columns.square()).double().sqrt()
    assert float(distance.max()) < 20 * 1.25 * 1.4 + 4
    assert float(distance.min()) > 20 / 1.2 / 1.4 - 4


def test_elastic_bends_a_line_but_tears_nothing():
    x = torch.zeros(200, 1, 41, 41)
    x[:, 0, 19:22, 8:33] = 1.0  # a thick level line
    bent = elastic(x, torch.Generator().manual_seed(0))[:, 0]
    assert float(bent.min()) >= 0
    assert float(bent.max()) <= 1 + 1e-5
    height = (bent * torch.arange(41.0)[:, None]).sum(1) / bent.sum(1).clamp_min(1e-6)
    middle = height[:, 14:27]  # columns that the line still crosses
    straight = torch.linspace(0, 1, 13)
    chord = middle[:, :1] + straight * (middle[:, -1:] - middle[:, :1])
    bend = (middle - chord).abs().amax(1)
    assert float(bend.median()) > 0.3
    assert float(bend.max()) < 8
    assert float((middle[:, 1:] - middle[:, :-1]).abs().max()) < 2.5
    assert bool((bent.sum((1, 2)) > 20).all())


def test_crop_and_mirror_shows_a_part_of_each_image_in_either_direction():
    ramp = torch.linspace(0.25, 0.75, 84).expand(400, 3, 84, 84)  # brighter to the right
    seen = crop_and_mirror(ramp, torch.Generator().manual_seed(0))
    assert seen.shape == ramp.shape
    assert float(seen.min()) >= 0
    assert float(seen.max()) <= 1
    slope = (seen[..., -1] - seen[..., 0]).mean((1, 2))
    assert 150 < int((slope < 0).sum()) < 250
    assert float(slope.abs().max()) <= 0.5 * 1.3**2
    assert float(slope.abs().min()) >= 0.5 * 0.6 * 0.7**2 - 0.01


IMAGES, VECTORS = torch.rand(6, 3, 16, 16), torch.rand(8, 5)
OF_KINDS = [
    *((distort, IMAGES, VECTORS) for distort in IMAGE_AUGMENTS.values()),
    *((distort, VECTORS, IMAGES) for distort in VECTOR_AUGMENTS.values()),
]


@pytest.mark.parametrize(("distort", "x", "other"), OF_KINDS, ids=AUGMENTS)
def test_a_distortion_is_decided_by_its_generator_and_keeps_shape_and_input(distort, x, other):
    before = x.clone()
    one, same, different = (distort(x, generator(seed)) for seed in (0, 0, 1))
    assert one.shape == x.shape
    assert torch.equal(one, same)
    assert not torch.equal(one, different)
    assert torch.equal(x, before)
    with pytest.raises(DataError, match=r"to distort, got shape .*: (vectors|images) take"):
        distort(other, generator(0))


@pytest.mark.parametrize("distort", IMAGE_AUGMENTS.values(), ids=IMAGE_AUGMENTS)
def test_a_distorted_image_stays_in_its_range(distort):
    distorted = distort(IMAGES, generator(0))
    assert float(distorted.min()) >= -1e-6
    assert float(distorted.max()) <= 1 + 1e-5


def test_a_chain_applies_each_distortion_in_turn():
    def double(x, generator):
        return 2 * x

    def add(x, generator):
        return x + torch.randint(1, 5, (1,), generator=generator)

    x = torch.ones(1, 3)
    drawn = float(torch.randint(1, 5, (1,), generator=generator(7)))
    assert float(chain(double, add)(x, generator(7))[0, 0]) == 2 + drawn
    assert float(chain(add, double)(x, generator(7))[0, 0]) == 2 * (1 + drawn)


def test_translate_shifts_by_up_to_a_share_of_the_side():
    x = torch.zeros(300, 1, 41, 41)
    x[:, 0, 20, 20] = 1.0
    mass = translate(x, generator(0), shift=0.25)[:, 0]
    place = torch.arange(41.0) - 20
    moved = torch.stack([mass.sum(2) @ place, mass.sum(1) @ place])
    assert 9.5 < float(moved.abs().max()) <= 10.25 + 1e-3
    assert abs(float(moved.mean())) < 1


def test_strokes_grow_and_shrink_by_at_most_a_pixel():
    x = torch.zeros(300, 1, 20, 20)
    x[:, 0, 8:12] = 1.0
    ink = strokes(x, generator(0))[:, 0].sum((1, 2)) / 20
    assert 4.9 < float(ink.max()) <= 5.1
    assert 3.4 < float(ink.min()) < 3.6  # of thin strokes, half
    assert 60 < int((ink == 4).sum()) < 140


def test_cutout_and_masks_hide_what_they_say():
    hidden = cutout(torch.ones(200, 1, 50, 50), generator(0), side=0.2) == 0
    assert float(hidden.float().sum((1, 2, 3)).max()) == 100
    masked = pixel_mask(torch.ones(50, 3, 30, 30), generator(0), share=0.25)
    assert 0.73 < float(masked.mean()) < 0.77
    assert torch.equal(masked[:, 0], masked[:, 2])
    assert 0.58 < float(mask_features(torch.ones(100, 50), generator(0), share=0.4).mean()) < 0.62


def test_swapped_features_come_from_the_same_column():
    x = torch.arange(12.0).view(6, 2)
    swapped = swap_features(x, generator(0), share=0.5)
    assert bool((swapped % 2 == x % 2).all())
    assert bool((swapped != x).any())


def test_noise_is_in_standard_deviations_of_a_feature_and_mixing_stays_between():
    x = torch.rand(2000, 2, generator=generator(1)) * torch.tensor([1.0, 1000.0])
    noise = add_noise(x, generator(0), deviation=0.5) - x
    assert torch.allclose(noise.std(0) / x.std(0), torch.tensor(0.5), atol=0.03)
    mixed = mix(x, generator(0), most=0.4)
    assert bool((mixed >= x.amin(0)).all() & (mixed <= x.amax(0)).all())
    alone = torch.rand(1, 3)
    assert torch.equal(mix(add_noise(alone, generator(0)), generator(0)), alone)
