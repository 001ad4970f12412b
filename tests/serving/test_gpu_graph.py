"""What a server with a GPU does to the graphs, as far as that can be seen without one."""

import pytest
import tensorflow as tf
from serving_samples import CATEGORIES
from tensorflow.core.protobuf import config_pb2, device_properties_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.eager.function import ConcreteFunction
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import cluster, tf_optimizer

from serving.map_signatures import map_signatures
from serving.signatures import segmentation_signatures
from trainer.inference.looks import Look
from trainer.models.large_fov import build_segmentation

SIZE, LIMIT = 33, 10**7
LOOK = Look(size=SIZE, native=True, scales=(1.0, 1.5), mirror=True)
GPU = device_properties_pb2.NamedDevice(
    name="/GPU:0",
    properties=device_properties_pb2.DeviceProperties(
        type="GPU", num_cores=100, frequency=1500, environment={"architecture": "9"}
    ),
)


def laid_out(function: ConcreteFunction) -> set[str]:
    """Types of the operations in the graph as the layout pass leaves it for a GPU.

    Raises:
      InvalidArgumentError: the pass gives up; a server then goes on without it, slower.
    """
    frozen = convert_variables_to_constants_v2(function)
    meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=frozen.graph.as_graph_def(), graph=frozen.graph)
    results = meta_graph_pb2.CollectionDef()
    results.node_list.value.extend(output.name for output in frozen.outputs)
    meta_graph.collection_def["train_op"].CopyFrom(results)
    rewriter = rewriter_config_pb2.RewriterConfig(
        optimizers=["layout"], meta_optimizer_iterations=1, min_graph_nodes=-1, fail_on_optimizer_errors=True
    )
    config = config_pb2.ConfigProto(graph_options=config_pb2.GraphOptions(rewrite_options=rewriter))
    graph = tf_optimizer.OptimizeGraph(config, meta_graph, cluster=cluster.Cluster(devices=[GPU]))
    functions = [node for function in graph.library.function for node in function.node_def]
    return {node.op for node in [*graph.node, *functions]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["serving_default", "evaluate"])
def test_the_layout_pass_takes_what_is_served_and_judged(name):
    net = build_segmentation("tiny", CATEGORIES.num_classes, None, 0)
    function = segmentation_signatures(net, CATEGORIES.num_classes, LOOK, LIMIT)[name]
    assert "Conv2D" in laid_out(function.get_concrete_function())


@pytest.mark.slow
def test_the_layout_pass_takes_the_maps():
    net = build_segmentation("tiny", 1, None, 0)
    function = map_signatures(net, "l_net", LOOK, LIMIT)["serving_default"]
    assert "Conv2D" in laid_out(function.get_concrete_function())
