import torch

from quickstudy.tasks.augment import affine, crop_and_mirror, elastic


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
