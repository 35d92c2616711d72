"""What needs PyTorch is collected only where PyTorch is: in the environment of requirements/modelkit.txt."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("torch") else ["test_training.py", "test_heads.py"]
