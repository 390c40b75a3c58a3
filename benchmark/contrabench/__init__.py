"""contrabench: which contrastive pre-training really helps when labels are few.

This module is what an author of a method, dataset, report format, backbone or executor imports;
`__init__.pyi` lists it. Names are resolved on first use, so that importing the package costs
nothing and `bench --help` never loads torch.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
