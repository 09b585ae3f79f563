"""Batches made ahead by threads or processes, each addressed by its epoch and index."""

import multiprocessing
import os
import threading
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection


class Prefetcher:
    """Calls `make(epoch, index)` ahead of being asked.

    Keras has a queue of its own for this (`PyDataset(workers=...)`), which cannot be used where
    content belongs to an epoch: batches that were queued before the first epoch (Keras takes one
    to build the model) stay in it and are handed out as batches of a later one. Here a batch is
    found by its epoch and index, so that the number of workers changes nothing but the time.

    Args:
        make: picklable callable of `(epoch, index)`.
        workers: number of workers; with 0 or 1 thread nothing is made ahead.
        processes: processes instead of threads. They are started afresh ("spawn"): a copy of a
            process in which JAX or TensorFlow runs threads can hang.
        ahead: most batches to hold.
    """

    def __init__(self, make, workers, processes, ahead):
        self.make, self.workers, self.processes, self.ahead = make, workers, processes, ahead
        self._executor, self._futures, self._lock = None, {}, threading.Lock()

    def __getstate__(self):
        return {
            "make": self.make,
            "workers": self.workers,
            "processes": self.processes,
            "ahead": self.ahead,
        }

    def __setstate__(self, state):
        self.__init__(**state)

    def get(self, epoch, index, length):
        """Returns batch `index` of `epoch`, and has those after it made, up to `length`."""
        if not self.processes and self.workers <= 1:
            return self.make(epoch, index)
        with self._lock:
            self._forget_other_epochs(epoch)
            future = self._futures.pop((epoch, index), None) or self._submit(epoch, index)
            for later in range(index + 1, length):
                if len(self._futures) >= self.ahead:
                    break
                if (epoch, later) not in self._futures:
                    self._futures[epoch, later] = self._submit(epoch, later)
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A worker process ended before its batch was made. A script that uses worker "
                'processes must start its work under `if __name__ == "__main__":`; else it may '
                "have run out of memory: use fewer workers, or threads "
                "(use_multiprocessing=False)"
            ) from error

    def _forget_other_epochs(self, epoch):
        for key in [key for key in self._futures if key[0] != epoch]:
            self._futures.pop(key).cancel()

    def _submit(self, epoch, index):
        if self._executor is None:
            self._executor = self._started()
            # Workers end with the dataset, at the latest with the interpreter.
            weakref.finalize(self, self._executor.shutdown, wait=False, cancel_futures=True)
        if self.processes:
            return self._executor.submit(_make_in_process, epoch, index)
        return self._executor.submit(self.make, epoch, index)

    def _started(self):
        if not self.processes:
            return ThreadPoolExecutor(self.workers, thread_name_prefix="keras_deepskip_crops")
        return ProcessPoolExecutor(
            max(self.workers, 1),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_process,
            initargs=(self.make,),
        )


_process: dict = {}


def _begin_process(make):
    _process["make"] = make
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """Ends this process when its parent is gone, even by kill -9, so that none is left over."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _make_in_process(epoch, index):
    return _process["make"](epoch, index)
