"""A run that awaits a product writes for how long to its log."""

from concurrent.futures import Future
from types import SimpleNamespace

from tasks.prefect_io import task


def test_each_wait_for_a_product_has_a_line(monkeypatch):
    lines, running = [], Future()

    def info(words, *values):
        lines.append(words % values)
        if len(lines) == 2:
            running.set_result("state")

    monkeypatch.setattr(task, "PATIENCE_S", 0.01)
    monkeypatch.setattr(task, "run_logger", lambda: SimpleNamespace(info=info))
    assert task.result_of(SimpleNamespace(wrapped_future=running, result=lambda: "product")) == "product"
    assert len(lines) == 2
    assert "A product is being made" in lines[0]
