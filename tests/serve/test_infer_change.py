"""Graphs that are changed and unloaded while the server runs: no request is lost, whichever way it came."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.ports import free_port
from tests.serve.graphs import WEIGHTS, asked, expected, null_graph
from tests.serve.server import PATIENCE, running, wait_for
from tests.serve.test_change import change, served
from tests.serve.test_grpc import Grpc
from tests.serve.test_grpc import asked as message
from tests.serve.test_infer import ROWS, outputs

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("finished")]


def test_a_swap_lets_accepted_requests_end(spoiled: Path, tmp_path: Path) -> None:
    other = null_graph(Path(shutil.copytree(spoiled, tmp_path / "other")))
    keys, port = tmp_path / "operators", free_port()
    keys.write_text("operator\n")
    keys.chmod(0o600)
    words = ("--admin-key-file", str(keys), "--grpc-port", str(port), "--max-batch", "1")
    with running(null_graph(spoiled, seconds=0.7), *words) as server, ThreadPoolExecutor(4) as pool:
        first, rpc = server.engine().pid, Grpc(server, port)
        answers = [pool.submit(server.infer, asked(ROWS)) for _ in range(2)]
        calls = [pool.submit(rpc.ask, message()) for _ in range(2)]
        wait_for(lambda: server.metric("edgehone_running_requests") == 4)  # 2.8 s of work
        assert change(server, other).status_code == 200
        begun = server.metric("edgehone_batch_requests_count")
        np.testing.assert_allclose(outputs(server.infer(asked(ROWS)))["scores"], expected(ROWS), 1e-5)
        for one in answers:
            assert outputs(one.result(PATIENCE))["class"].shape == (5,)
        for call in calls:
            np.testing.assert_allclose(
                np.frombuffer(call.result(PATIENCE).raw_output_contents[0], np.float32),
                [1, 2, 3, 4] @ WEIGHTS,
                1e-5,
            )
        assert begun < 4  # the new engine answered before the old one had
        wait_for(lambda: first not in [child.pid for child in _children(server.process.pid)])
        assert served(server)["bundle"]["path"] == str(other)


def test_an_idle_graph_is_unloaded_and_loaded_by_the_next_request(spoiled: Path) -> None:
    with running(null_graph(spoiled), "--unload-after", "1") as server:
        wait_for(lambda: server.client.get("/readyz").json()["unloaded"] == ["bundle"])
        assert server.client.get("/v2/health/ready").status_code == 200
        assert server.client.get("/v2/models/bundle/ready").status_code == 200
        wait_for(lambda: not _children(server.process.pid))
        np.testing.assert_allclose(outputs(server.infer(asked(ROWS)))["scores"], expected(ROWS), 1e-5)


def _children(process: int) -> list[psutil.Process]:
    return psutil.Process(process).children(recursive=True)
