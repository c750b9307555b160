"""Environment variables through which something is asked of a submission, or of the libraries it uses."""

PRESET_VARIABLE = "SDX_PRESET"
HOME_VARIABLE = "SDX_USER_HOME"
TIME_FACTOR_VARIABLE = "SDX_TIME_LIMIT_FACTOR"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
