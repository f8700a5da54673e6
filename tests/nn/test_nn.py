import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.errors import UsageError
from quickstudy.nn import (
    BACKBONES,
    MLP,
    AlignInk,
    Conv4,
    KochConv,
    OneHot,
    ResNet12,
    StridedConv4,
    cosine_similarity,
    squared_euclidean,
)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_says_the_shape_of_an_example_and_the_length_of_its_features(name):
    shapes = {"koch_conv": (1, 105, 105), "series_conv4": (2, 40), "linear": (40,), "one_hot": (2,)}
    shape = shapes.get(name, (1, 28, 28))
    options = {"sizes": [3, 4]} if name == "one_hot" else {}
    backbone = BACKBONES[name](shape, **options).eval()
    assert backbone(torch.rand(3, *shape)).shape == (3, backbone.out_features)
    assert backbone.in_shape == shape


def test_a_linear_map_begins_as_the_identity_and_takes_vectors_alone():
    x = torch.rand(3, 5)
    torch.testing.assert_close(BACKBONES["linear"]((5,))(x), x)
    with pytest.raises(UsageError, match="vectors of shape"):
        BACKBONES["linear"]((1, 28, 28))


def test_conv4_equals_the_published_order_of_relu_then_pooling_with_bias():
    torch.manual_seed(0)
    mine, x = Conv4((1, 28, 28), width=8), torch.rand(6, 1, 28, 28)
    published: list[nn.Module] = []
    layers = list(mine)
    for convolution, norm in zip(layers[0:16:4], layers[1:16:4], strict=True):
        biased = nn.Conv2d(convolution.in_channels, 8, 3, padding=1)
        with torch.no_grad():
            biased.weight.copy_(convolution.weight)
        published += [biased, norm, nn.ReLU(), nn.MaxPool2d(2)]
    torch.testing.assert_close(mine(x), nn.Sequential(*published, nn.Flatten())(x))


def test_a_residual_block_equals_the_published_order_of_activation_then_pooling():
    torch.manual_seed(0)
    x = torch.rand(6, 3, 16, 16)
    network = ResNet12((3, 16, 16), width=4)
    block = network[0]
    summed = block.layers(x) + block.shortcut(x)
    expected = F.max_pool2d(F.leaky_relu(summed, 0.1), 2)
    torch.testing.assert_close(block(x), expected)
    assert len([m for m in network.modules() if isinstance(m, nn.Conv2d)]) == 12 + 4


def test_paper_sizes():
    resnet = ResNet12((3, 84, 84))
    assert resnet.out_features == 640
    assert round(sum(p.numel() for p in resnet.parameters()) / 1e6, 1) == 12.4
    assert Conv4((1, 28, 28)).out_features == 64
    assert Conv4((3, 84, 84)).out_features == 1600
    assert StridedConv4((1, 28, 28)).out_features == 64
    assert KochConv((1, 105, 105)).out_shape == (256, 6, 6)


def test_koch_conv_takes_images_from_65_on_and_starts_as_in_the_paper():
    torch.manual_seed(0)
    backbone = KochConv((1, 65, 65))
    assert backbone(torch.rand(2, 1, 65, 65)).shape == (2, 256)
    with pytest.raises(UsageError, match="sides of 65 or more"):
        KochConv((1, 64, 64))
    for convolution in (m for m in backbone if isinstance(m, nn.Conv2d)):
        assert convolution.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert convolution.bias.mean().item() == pytest.approx(0.5, abs=0.01)


def test_unusable_shapes_and_widths_are_refused():
    with pytest.raises(UsageError, match="sides of 16 or more"):
        Conv4((1, 8, 8))
    with pytest.raises(UsageError, match="shape"):
        Conv4((28, 28))
    with pytest.raises(UsageError, match="positive width"):
        MLP((4,), [])
    for sizes in ([5], [5, 0], [5, 5, 5]):
        with pytest.raises(UsageError, match="expected 2 sizes of 1 or more"):
            OneHot((2,), sizes)


def test_each_tuple_of_whole_numbers_has_a_place_of_its_own():
    backbone = OneHot((2,), [3, 4])
    cells = torch.cartesian_prod(torch.arange(3), torch.arange(4)).float()
    assert torch.equal(backbone(cells), torch.eye(12))
    assert backbone(torch.tensor([[3.0, 0.0], [0.0, -1.0]])).sum() == 0  # out of range


def test_squared_euclidean_is_that_of_each_pair_and_never_negative():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (4, 5))
    torch.testing.assert_close(squared_euclidean(a, b), torch.cdist(a, b) ** 2)
    same = 1e4 + torch.rand(50, 64, generator=generator)
    assert squared_euclidean(same, same).min() >= 0


def test_cosine_similarity_is_that_of_each_pair():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (4, 5))
    expected = F.cosine_similarity(a[:, None], b[None], dim=2)
    torch.testing.assert_close(cosine_similarity(a, b), expected)


def test_distances_keep_full_precision_under_autocast():
    a = torch.rand(4, 64) + 100
    expected = squared_euclidean(a, a[:2]), cosine_similarity(a, a[:2])
    with torch.autocast("cpu", torch.bfloat16):
        found = squared_euclidean(a, a[:2]), cosine_similarity(a, a[:2])
    torch.testing.assert_close(found, expected)


def test_strided_conv4_without_the_mean_keeps_the_last_map():
    torch.manual_seed(0)
    whole = StridedConv4((1, 28, 20), width=3, mean=False).eval()
    averaged = StridedConv4((1, 28, 20), width=3).eval()
    averaged.load_state_dict(whole.state_dict())
    x = torch.rand(2, 1, 28, 20)
    assert whole(x).shape == (2, whole.out_features) == (2, 3 * 2 * 2)
    torch.testing.assert_close(whole(x).view(2, 3, 4).mean(2), averaged(x))


def test_aligned_ink_is_in_the_middle_and_nearer_to_a_common_size():
    x = torch.zeros(3, 1, 40, 40)
    x[0, 0, 4:14, 20:30] = 1.0  # a small square away from the middle
    x[1, 0, 2:38, 2:38] = 1.0  # a large one; the third image is empty
    aligned = AlignInk()(x)
    assert aligned.shape == x.shape
    assert not aligned[2].any()
    place = torch.arange(40.0) - 19.5
    for one in aligned[:2, 0]:
        centre = (one.sum(0) @ place / one.sum(), one.sum(1) @ place / one.sum())
        assert max(map(abs, centre)) < 0.1
    small, large = (float(one.sum()) ** 0.5 for one in aligned[:2])  # sides
    assert 10 < small < 10 * 1.31
    assert 36 / 1.31 < large < 36


def test_a_network_that_aligns_does_not_see_where_the_ink_is():
    torch.manual_seed(0)
    network = Conv4((1, 40, 40), width=4, align=True).eval()
    x = torch.zeros(1, 1, 40, 40)
    x[..., 12:20, 14:26] = torch.rand(8, 12)
    torch.testing.assert_close(network(x.roll((6, -4), (2, 3))), network(x), atol=1e-4, rtol=0)
