#include "python/bindings/SideStreams.h"

#include "python/bindings/FastCalls.h"
#include "runtime/cuda/Communicator.h"
#include "runtime/cuda/Courier.h"

#include <pybind11/stl.h>

namespace py = pybind11;
using namespace vernier;
using namespace vernier::python;
using namespace vernier::runtime::cuda;

static void check(const runtime::Status &status) {
  if (!status)
    raiseLaunchError(status.error().message);
}

template <typename T> static T valueOf(runtime::Result<T> result) {
  if (!result)
    raiseLaunchError(result.error().message);
  return std::move(*result);
}

static Stream streamAt(uintptr_t address) { return reinterpret_cast<Stream>(address); }

/// What both have of the stream that they work in.
template <typename T> static void bindStream(py::class_<T> &type) {
  type.def_property_readonly("stream", [](T &object) { return reinterpret_cast<uintptr_t>(object.side().own()); })
      .def(
          "follow", [](T &object, uintptr_t stream) { check(object.side().follow(streamAt(stream))); }, py::arg("stream"))
      .def("join", [](T &object, uintptr_t stream) { check(object.side().join(streamAt(stream))); }, py::arg("stream"));
}

using Pieces = std::vector<std::tuple<int, uintptr_t, size_t>>;

static std::vector<Communicator::Message> messagesOf(const Pieces &pieces) {
  std::vector<Communicator::Message> messages;
  messages.reserve(pieces.size());
  for (auto [peer, memory, bytes] : pieces)
    messages.push_back({peer, memory, bytes});
  return messages;
}

void vernier::python::bindSideStreams(py::module_ &m) {
  py::class_<Courier> courier(m, "Courier");
  bindStream(courier);
  courier.def(py::init([](int device) { return valueOf(Courier::make(device)); }), py::arg("device"))
      .def(
          "copy",
          [](Courier &self, uintptr_t to, uintptr_t from, size_t bytes, uintptr_t after) {
            check(self.copy(to, from, bytes, streamAt(after)));
          },
          py::arg("to"), py::arg("from_"), py::arg("bytes"), py::arg("after"));

  py::class_<Communicator> communicator(m, "Communicator");
  bindStream(communicator);
  communicator
      .def(py::init([](int device, int ranks, int rank, const py::bytes &id) {
             std::string text = id;
             auto make = [&] {
               py::gil_scoped_release release; // until all ranks are there
               return Communicator::make(device, ranks, rank, text);
             };
             return valueOf(make());
           }),
           py::arg("device"), py::arg("ranks"), py::arg("rank"), py::arg("id"))
      .def(
          "exchange",
          [](Communicator &self, const Pieces &sent, const Pieces &received, uintptr_t after) {
            check(self.exchange(messagesOf(sent), messagesOf(received), streamAt(after)));
          },
          py::arg("sent"), py::arg("received"), py::arg("after"))
      .def("check", [](const Communicator &self) { check(self.failure()); });
  m.def("nccl_unique_id", [] { return py::bytes(valueOf(Communicator::uniqueId())); });
}
