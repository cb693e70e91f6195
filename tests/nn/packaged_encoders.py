"""Real transformers whose weights a package ships, for the tests of what happens inside them."""

import pytest

from isthmus.encoders.packaged import packaged_file
from isthmus.errors import IsthmusError


def load(package):
    transformers = pytest.importorskip("transformers")
    try:
        folder = packaged_file(package, "model.safetensors", install=package).parent
    except IsthmusError:
        pytest.skip(f"the weights of {package} are not installed")
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    return model, transformers.BertTokenizerFast.from_pretrained(folder)
