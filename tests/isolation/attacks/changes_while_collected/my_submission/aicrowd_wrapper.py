from my_submission.attack import Wrapper as AIcrowdWrapper  # noqa: F401
