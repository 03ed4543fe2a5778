"""PYNQ's remote protocol over a simulated board: the services that a board with PYNQ.remote runs,
so that `pynq.pl_server.remote_device.RemoteDevice` of another process works it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from pynq.pl_server.remote_device import BS_FPGA_MAN, BS_FPGA_MAN_FLAGS, FIRMWARE, PYNQ_PORT
from pynq.remote import buffer_pb2, buffer_pb2_grpc, mmio_pb2, mmio_pb2_grpc
from pynq.remote import remote_device_pb2 as device_pb2
from pynq.remote import remote_device_pb2_grpc as device_pb2_grpc

from hwmoe.deploy.simulated_device import SimulatedDevice
from hwmoe.deploy.simulated_memory import SimulatedBuffer

CHUNK = 1 << 21  # bytes in a message; gRPC takes 4 MB

Context = Any


def serve(device: SimulatedDevice, port: int = PYNQ_PORT, host: str = "127.0.0.1") -> Any:
    """A running gRPC server of one client at a time; port 0 takes any that is free.

    Returns (server, port). `RuntimeError` if the port is taken.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    device_pb2_grpc.add_RemoteDeviceServicer_to_server(_Linux(device), server)
    mmio_pb2_grpc.add_MmioServicer_to_server(_Mmio(device), server)
    buffer_pb2_grpc.add_RemoteBufferServicer_to_server(_Buffers(device), server)
    bound = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, bound


class _Linux(device_pb2_grpc.RemoteDeviceServicer):  # type: ignore[misc]
    """Files of the board: who it is, its firmware, and the FPGA manager, which programs it."""

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device
        self.files = {
            "/proc/version": f"Linux version 6 ({device.arch}), simulated by hwmoe\n".encode(),
            "/proc/device-tree/chosen/pynq_board": device.name.encode() + b"\0",
            "/sys/class/fpga_manager/fpga0/state": b"operating\n",
            BS_FPGA_MAN_FLAGS: b"0\n",
        }

    def existsfile(self, request: Any, context: Context) -> Any:
        return device_pb2.ExistsFileResponse(exists=request.file_path in self.files)

    def readfile(self, request: Any, context: Context) -> Iterator[Any]:
        if request.file_path not in self.files:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no such file: {request.file_path}")
        for chunk in _chunks(self.files[request.file_path]):
            yield device_pb2.ReadFileResponse(data=chunk)

    def writefile(self, requests: Iterable[Any], context: Context) -> Any:
        path, data = "", b""
        for request in requests:
            path, data = request.file_path, data + request.data
        if path == BS_FPGA_MAN:
            firmware = FIRMWARE + data.decode()
            if firmware not in self.files:
                context.abort(grpc.StatusCode.NOT_FOUND, f"no such firmware: {firmware}")
            self.device.program()
        self.files[path] = data
        return device_pb2.WriteFileResponse()

    def set_bitstream_attrs(self, request: Any, context: Context) -> Any:
        return device_pb2.SetBitstreamAttrsResponse(status=not request.partial)


class _Mmio(mmio_pb2_grpc.MmioServicer):  # type: ignore[misc]
    """Registers. What fails comes back as a message, which the client raises."""

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device
        self.windows: dict[str, int] = {}

    def get_mmio(self, request: Any, context: Context) -> Any:
        name = str(len(self.windows))
        self.windows[name] = request.base_addr
        return mmio_pb2.GetMmioResponse(status=True, mmio_id=name)

    def read(self, request: Any, context: Context) -> Any:
        address = self.windows[request.mmio_id] + request.offset
        try:
            data = self.device.read_registers(address, request.length)
        except Exception as error:
            return mmio_pb2.ReadResponse(status=False, msg=str(error))
        if request.length == 8 and request.word_order == "big":
            data = data[4:] + data[:4]
        value = int.from_bytes(data[: request.length], "little")
        return mmio_pb2.ReadResponse(status=True, data=value)

    def write(self, request: Any, context: Context) -> Any:
        address = self.windows[request.mmio_id] + request.offset
        try:
            self.device.write_registers(address, request.data)
        except Exception as error:
            return mmio_pb2.WriteResponse(status=False, msg=str(error))
        return mmio_pb2.WriteResponse(status=True)


class _Buffers(buffer_pb2_grpc.RemoteBufferServicer):  # type: ignore[misc]
    """Buffers in the board's memory. `write` and `read` move bytes of the processor's side,
    `flush` and `invalidate` bring them to the fabric's and back."""

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device
        self.buffers: dict[str, SimulatedBuffer] = {}
        self.names = map(str, itertools.count())

    def allocate(self, request: Any, context: Context) -> Any:
        try:
            buffer = self.device.allocate((request.size,), np.uint8)
        except RuntimeError as error:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        name = next(self.names)
        self.buffers[name] = buffer
        return buffer_pb2.AllocateResponse(buffer_id=name)

    def write(self, requests: Iterable[Any], context: Context) -> Any:
        at = 0
        for request in requests:
            buffer = self.buffers[request.buffer_id]
            if at + len(request.data) > buffer.size:
                return buffer_pb2.BufferWriteResponse(msg=f"the buffer has {buffer.size} bytes")
            buffer[at : at + len(request.data)] = np.frombuffer(request.data, np.uint8)
            at += len(request.data)
        return buffer_pb2.BufferWriteResponse()

    def read(self, request: Any, context: Context) -> Iterator[Any]:
        for chunk in _chunks(self.buffers[request.buffer_id].tobytes()):
            yield buffer_pb2.BufferReadResponse(data=chunk)

    def flush(self, request: Any, context: Context) -> Any:
        self.buffers[request.buffer_id].flush()
        return buffer_pb2.FlushResponse()

    def invalidate(self, request: Any, context: Context) -> Any:
        self.buffers[request.buffer_id].invalidate()
        return buffer_pb2.InvalidateResponse()

    def freebuffer(self, request: Any, context: Context) -> Any:
        self.buffers.pop(request.buffer_id).freebuffer()
        return buffer_pb2.FreeBufferResponse()

    def physical_address(self, request: Any, context: Context) -> Any:
        address = self.buffers[request.buffer_id].physical_address
        return buffer_pb2.AddressResponse(address=address)

    def virtual_address(self, request: Any, context: Context) -> Any:
        address = self.buffers[request.buffer_id].virtual_address
        return buffer_pb2.AddressResponse(address=address)

    def cacheable(self, request: Any, context: Context) -> Any:
        return buffer_pb2.CacheableResponse(cacheable=True)


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
