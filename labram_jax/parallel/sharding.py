"""Which part of every array lives on which device: the mesh, one table of rules, and the ways on and off it."""

import errno
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int

from labram_jax.config import MeshConfig
from labram_jax.errors import InputError
from labram_jax.parallel.state import TrainState

PyTree = Any

AXES = ("data", "fsdp", "model")

# Logical axis of an array -> axis of the mesh. An axis of the mesh serves at most one dimension of an array: the first.
RULES: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
    # Of parameters, and of the moments that follow them:
    ("width", "fsdp"),  # stored in slices and gathered where they are used
    ("layers", None),  # the scan walks over this one
    ("head_dim", None),
    ("code_dim", None),
    # Of parameters and of activations:
    ("heads", "model"),  # attention: heads never talk to each other
    ("mlp", "model"),  # the wide middle of the MLP: one reduction after its second product
    ("codes", "model"),  # the vocabulary projection, the widest array there is; the codebook itself is on every device
    # Of activations:
    ("rows", ("data", "fsdp")),  # examples: every device of both axes works on its own rows
    ("tokens", None),
    ("features", None),  # a token's features stay together, for the norms
)
BATCH = P(("data", "fsdp"))
BATCHES = P(None, *BATCH)  # several, stacked


def rules_within(axis: str) -> tuple[tuple[str, str | tuple[str, ...] | None], ...]:
    """The rules for a function that runs on the rows of one place along `axis`, which is then no one's to divide."""
    return tuple((name, _without(axis, axes)) for name, axes in RULES)


def _without(axis: str, axes: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
    if isinstance(axes, tuple):
        return tuple(other for other in axes if other != axis)
    return None if axes == axis else axes


def make_mesh(config: MeshConfig, among: Sequence[jax.Device] | None = None) -> Mesh:
    """Lays all devices (or those of `among`) out along data x fsdp x model; raises InputError if they do not fit.

    Where they are several slices, joined by a slower network, the slices lie along `data`, or along `fsdp`.
    """
    sizes = {axis: getattr(config, axis) for axis in AXES}
    among = _present() if among is None else among
    devices = len(among)
    asked = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    open_axes = [axis for axis, size in sizes.items() if size == -1]
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if len(open_axes) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise InputError(f"mesh ({asked}): sizes must be at least 1, and one of them may be -1 for what is left.")
    if devices % fixed or (not open_axes and fixed != devices):
        raise InputError(
            f"mesh ({asked}) does not fit {devices} device(s): the product of the sizes must "
            f"{'divide' if open_axes else 'be'} {devices}."
        )
    for axis in open_axes:
        sizes[axis] = devices // fixed
    kinds = (AxisType.Auto,) * len(AXES)
    slices = len({getattr(device, "slice_index", 0) for device in among})
    if slices == 1:
        return jax.make_mesh(tuple(sizes.values()), AXES, axis_types=kinds, devices=among)
    across = next((axis for axis in ("data", "fsdp") if sizes[axis] % slices == 0), None)
    if across is None:
        raise InputError(f"mesh ({asked}): the devices are {slices} slices; make data or fsdp a multiple of that.")
    between = {axis: slices if axis == across else 1 for axis in AXES}
    within = [sizes[axis] // between[axis] for axis in AXES]
    return Mesh(create_hybrid_device_mesh(within, list(between.values()), among), AXES, axis_types=kinds)


def _present() -> Sequence[jax.Device]:
    """The devices that JAX finds; OSError where it finds none, which a node with a failed driver shows as well."""
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = f"JAX_PLATFORMS={jax.config.jax_platforms}" if jax.config.jax_platforms else None
        raise OSError(errno.ENODEV, "JAX finds no device", asked) from error


def partition_spec(names: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh) -> P:
    """The rules applied to one array with logical axes `names`; the axes of the mesh must divide its shape."""
    rules, taken, spec = dict(RULES), set(), []
    for name, size in zip(names, shape, strict=True):
        if name is not None and name not in rules:
            raise KeyError(f"logical axis {name!r} has no rule in labram_jax/parallel/sharding.py")
        axes = rules.get(name) or ()
        axes = (axes,) if isinstance(axes, str) else axes
        free = bool(axes) and not taken & set(axes)
        if free and size % math.prod(mesh.shape[axis] for axis in axes):
            raise Indivisible(name, size, " x ".join(axes))
        taken |= set(axes) if free else set()
        spec.append(rules[name] if free else None)
    return P(*spec)


class Indivisible(Exception):
    """A dimension of an array that an axis of the mesh does not divide: (logical axis, size, axis of the mesh)."""


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def variable_shardings(boxed: PyTree, mesh: Mesh) -> PyTree:
    """Shardings of a model's variables (or their shapes) that are boxed with logical axes; the result is unboxed.

    Raises InputError where an axis of the mesh does not divide an array, with the sizes that would divide all.
    """
    misfits: list[tuple[str, Indivisible]] = []
    sizes: dict[str, list[int]] = {}

    def sharding(path, leaf):
        if not isinstance(leaf, nn.Partitioned):
            return replicated(mesh)
        for name, size in zip(leaf.names, leaf.value.shape, strict=True):
            sizes.setdefault(dict(RULES).get(name), []).append(size)
        try:
            return NamedSharding(mesh, partition_spec(leaf.names, leaf.value.shape, mesh))
        except Indivisible as misfit:
            misfits.append((jax.tree_util.keystr(path, simple=True, separator="/"), misfit))

    shardings = jax.tree_util.tree_map_with_path(sharding, boxed, is_leaf=lambda x: isinstance(x, nn.Partitioned))
    if misfits:
        path, (name, size, axis) = misfits[0][0], misfits[0][1].args
        common = math.gcd(*sizes[axis])
        choices = [str(n) for n in range(1, mesh.size + 1) if common % n == 0 and mesh.size % n == 0]
        raise InputError(
            f"mesh.{axis} {mesh.shape[axis]} does not divide the {size} {name} of {path}; with this model and "
            f"{mesh.size} device(s) it can be {', '.join(choices)}."
        )
    return shardings


def _like_params(tree: PyTree, params: PyTree, shardings: PyTree, mesh: Mesh) -> PyTree:
    """Gives every array of an optimizer's state the sharding of the parameter whose path ends its own."""
    known = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(shardings), strict=True
        )
    }

    def sharding(path, leaf):
        for start in range(len(path)):
            name = jax.tree_util.keystr(path[start:], simple=True, separator="/")
            if name in known and known[name][0] == leaf.shape:
                return known[name][1]
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(sharding, tree)


def abstract_variables(init: Callable[[jax.Array], PyTree], mesh: Mesh) -> PyTree:
    """Shapes, types and shardings of what `init(key)` would make, without making it."""
    boxed = jax.eval_shape(lambda: init(jax.random.key(0)))
    return _with_shardings(nn.unbox(boxed), variable_shardings(boxed, mesh))


def abstract_state(variables: PyTree, optimizer, guard: PyTree, frozen: PyTree, mesh: Mesh) -> TrainState:
    """Shapes, types and shardings of a whole TrainState, from those of the variables."""

    def everywhere(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), tree)

    collections = dict(variables)
    params = collections.pop("params")
    opt_state = jax.eval_shape(optimizer.init, params)
    param_shardings = shardings_of(params)
    return TrainState(
        step=everywhere(jax.ShapeDtypeStruct((), jnp.int32)),
        params=params,
        collections=collections,
        opt_state=_with_shardings(opt_state, _like_params(opt_state, params, param_shardings, mesh)),
        guard=everywhere(guard),
        frozen=everywhere(frozen),
    )


def _with_shardings(tree: PyTree, shardings: PyTree) -> PyTree:
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)


def shardings_of(abstract: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)


def put_array(array: np.ndarray | jax.Array, sharding: NamedSharding) -> jax.Array:
    """Places an array that every process holds whole."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return jax.device_put(array, sharding)
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def put_like(tree: PyTree, abstract: PyTree) -> PyTree:
    """Places arrays that every process holds whole where `abstract` says."""
    return jax.tree.map(lambda x, a: put_array(x, a.sharding), tree, abstract)


def replaced(variables: PyTree, part: PyTree, path: str = "") -> PyTree:
    """`variables` with the arrays of `part` (numpy, any of its branches) in their places and on their devices.

    Raises InputError where an array of `part` has no place, or one of another shape.
    """
    if not isinstance(part, Mapping):
        if not hasattr(variables, "shape") or tuple(variables.shape) != tuple(np.shape(part)):
            raise InputError(
                f"the weights to start from have {path.strip('/')} {np.shape(part)} where the configured model has "
                f"{getattr(variables, 'shape', 'no such array')}: give the model the size of the weights."
            )
        return put_array(np.asarray(part, variables.dtype), variables.sharding)
    unknown = sorted(set(part) - set(variables))
    if unknown:
        raise InputError(
            f"the weights to start from have {path.strip('/')}/{unknown[0]}, which the configured model lacks: "
            "give the model the options of the weights."
        )
    return {**variables, **{name: replaced(variables[name], part[name], f"{path}/{name}") for name in part}}


def row_devices(mesh: Mesh) -> int:
    """Over how many devices the rows of a batch are spread."""
    return math.prod(mesh.shape[axis] for axis in ("data", "fsdp"))


def process_rows(mesh: Mesh, rows: int) -> Int[np.ndarray, " own"]:
    """Numbers of the rows of a global batch of `rows` that this process must load, ascending.

    They need not be one stretch: on a TPU the mesh follows the wiring of the chips, and a host's chips form a block.
    Raises InputError if the devices cannot share the rows evenly.
    """
    shards = row_devices(mesh)
    if rows % shards:
        raise InputError(
            f"data.batch_rows {rows} cannot be divided over {shards} devices (mesh data {mesh.shape['data']} x "
            f"fsdp {mesh.shape['fsdp']}); choose a multiple of {shards}."
        )
    parts = NamedSharding(mesh, BATCH).addressable_devices_indices_map((rows,)).values()
    return np.unique(np.concatenate([np.arange(rows)[part] for part in parts]))


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh, *, stacked: bool = False) -> dict[str, jax.Array]:
    """Puts this process's rows (see `process_rows`) of every array on its devices, as parts of the global batch.

    `stacked`: the arrays are of several batches, one after another along a first axis, which every device has whole.
    """
    sharding = NamedSharding(mesh, BATCHES if stacked else BATCH)
    if sharding.is_fully_addressable:  # all arrays in one call, which takes half the time
        return jax.device_put(dict(batch), sharding)
    return {name: jax.make_array_from_process_local_data(sharding, np.asarray(x)) for name, x in batch.items()}


def to_host(array: jax.Array | np.ndarray) -> np.ndarray:
    """The whole of an array in this process's memory, wherever its parts live; all processes must call it."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def agreed(holds: bool) -> bool:
    """Whether something holds in every process; all processes must ask."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(holds))))
