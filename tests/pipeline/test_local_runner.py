"""What a run put out, asked of the metadata store by another process than the one that ran it."""

from small_pipeline import small_dag
from tfx.dsl.compiler.compiler import Compiler

from pipeline.execution.local_runner import LocalRunner, components_of


def run(dag, run_id):
    runner = LocalRunner(run_id, lambda *_: None, lambda _: None)
    runner.run(dag)
    return runner.components


def outputs(components):
    found = {
        one.name: (one.state, {key: [a.uri for a in made] for key, made in one.outputs.items()}) for one in components
    }
    del found["latest_blessed"]  # of this run's own making: nothing, and then the first run's model
    return found


def test_the_store_tells_what_each_component_put_out(tmp_path):
    first = run(small_dag(tmp_path), "one")
    second = run(small_dag(tmp_path, good=0), "two")
    pipeline = Compiler().compile(small_dag(tmp_path))
    for run_id, components in (("one", first), ("two", second)):
        found = components_of(pipeline, run_id)
        assert [one.name for one in found] == [one.name for one in components]
        assert outputs(found) == outputs(components)
    assert {one.state for one in first} == {"done"} and {one.state for one in second} == {"done", "cached"}
