"""Every error Secateur raises on purpose. Each message says what is wrong and what to do instead."""


class SecateurError(Exception):
    """Base of all errors a user can cause or must hear about."""


class PlanError(SecateurError):
    """A plan does not fit the model: unknown name, contradiction, tied weight that cannot be transformed everywhere."""


class TargetError(SecateurError):
    """A target is impossible, contradictory, or was missed."""


class TrainingError(SecateurError):
    """Training cannot go on: a loss that is no number, data that is not there, a state that cannot be kept."""


class GraphError(SecateurError):
    """A graph breaks a rule of the intermediate representation, or holds an operation outside the closed list."""


class ArtifactError(SecateurError):
    """An artifact file is damaged, hostile, too large, or not usable for what was asked of it."""


class DataError(SecateurError):
    """An input file or array is not what the model or command expects."""


class KernelError(SecateurError):
    """A kernel cannot be made or run for what was asked: shape, algorithm or processor; or its code is not valid."""


class AlgorithmError(SecateurError):
    """No exact algorithm comes of this: moduli share a factor, a point is repeated, sizes do not fit, or no algorithm
    meets a wish."""


class SecateurWarning(UserWarning):
    """Something was not done as a user may expect, and the result is usable all the same."""
