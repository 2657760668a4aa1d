"""Any classifier of torchvision as a backbone."""

from __future__ import annotations

import warnings

import torchvision
from torch import Tensor, nn

from robustray.tasks.errors import InputError
from robustray.tasks.models.normalised import hide_level
from robustray.tasks.words import nearest


def check_name(name: str) -> None:
    """Raises: InputError for a name that torchvision does not have among its classifiers."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(f"torchvision has no classifier {name!r}{nearest(name, known)}")


class _ReadLinear(nn.Linear):
    """A linear layer that remembers its input until `take` is called."""

    seen: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        self.seen = input
        return super().forward(input)

    def take(self) -> Tensor:
        assert self.seen is not None
        seen, self.seen = self.seen, None  # else the graph behind it would live on
        return seen


class TorchvisionBackbone(nn.Module):
    """`torchvision.models.get_model(name)` with untrained weights. The state dict has torchvision's own keys.

    The latent is what the last linear layer reads. Networks that end in something else (SqueezeNet) have none.
    """

    def __init__(self, name: str, num_classes: int) -> None:
        """Raises: InputError for an unknown name."""
        super().__init__()
        check_name(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # two networks announce another default initialisation
            self.net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
        hide_level(self, "net.")
        self.name = name
        self.head_path = ""
        last = [path for path, module in self.net.named_modules() if type(module) is nn.Linear][-1:]
        if last:
            old = self.net.get_submodule(last[0])
            assert isinstance(old, nn.Linear)
            if old.out_features == num_classes:
                head = _ReadLinear(old.in_features, num_classes, bias=old.bias is not None)
                head.load_state_dict(old.state_dict())
                self.net.set_submodule(last[0], head)
                self.head_path = last[0]

    def features(self, x: Tensor, fake_relu: bool = False) -> Tensor:
        """Raises: InputError for fake_relu, and for a network that does not end in a linear layer."""
        if fake_relu:
            raise InputError(f"torchvision:{self.name} has no fake ReLU: use a cifar:, small: or digits: model")
        head = self._head()
        self.net(x)
        return head.take()

    def classify(self, latent: Tensor) -> Tensor:
        head = self._head()
        logits = head(latent)
        head.seen = None
        return logits

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        if self.head_path:
            self._head().seen = None
        return logits

    def _head(self) -> _ReadLinear:
        if not self.head_path:
            raise InputError(f"torchvision:{self.name} does not end in a linear layer, so it has no latent")
        head = self.net.get_submodule(self.head_path)
        assert isinstance(head, _ReadLinear)
        return head
