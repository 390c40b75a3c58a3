"""The conformance kit: does a method keep the contract? For authors of plug-ins.

    import pytest
    from contrabench.testing import CHECKS, assert_conforms

    @pytest.mark.parametrize("check", CHECKS)
    def test_conforms(check):
        assert_conforms("my_method.py", check)

On the command line the same is `bench methods check my_method.py`.
"""

import lazy_loader

# A phantom alone needs no training loop.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
