from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from quickstudy import ClassData, EpisodeSampler
from quickstudy.errors import DataError


class Pictures(Dataset):
    """As torchvision gives them: Pillow images, whole numbers, names beside."""

    classes = ("night", "day")

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return Image.new("RGB", (5, 4), (40 * (i % 2), 0, 7)), i % 2


def test_a_torch_data_set_is_grouped_by_its_labels():
    x = torch.rand(6, 1, 4, 4)
    data = ClassData.from_dataset(TensorDataset(x, torch.tensor([3, 5, 3, 5, 3, 5])))
    assert data.names == ["3", "5"]
    assert data.x.equal(x)
    episode = EpisodeSampler(data, n_way=2, n_shot=1, n_query=2)[0]
    assert episode.support.x.shape == (2, 1, 4, 4)


def test_images_become_bytes_and_classes_keep_their_names():
    data = ClassData.from_dataset(Pictures())
    assert (data.x.dtype, data.x.shape) == (torch.uint8, (6, 3, 4, 5))
    assert data.x[1, :, 0, 0].tolist() == [40, 0, 7]
    assert [data.names[c] for c in data.y] == ["night", "day"] * 3
    grey = [(Image.new("L", (5, 4), 9), "a"), (Image.new("L", (5, 4), 8), "b")]
    assert ClassData.from_dataset(grey).x[:, 0, 0, 0].tolist() == [9, 8]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "list of none"),
        (Subset(Pictures(), []), "Subset of none"),
        (SimpleNamespace(), "items"),
        ([torch.rand(3), torch.rand(3)], "pairs of an example and its label"),
        ([(torch.rand(3), 0), (torch.rand(4), 1)], r"one shape, got \(3,\) and \(4,\): resize"),
    ],
)
def test_what_is_no_data_set_of_pairs_is_refused(dataset, message):
    with pytest.raises(DataError, match=message):
        ClassData.from_dataset(dataset)
