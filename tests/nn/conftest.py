import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
