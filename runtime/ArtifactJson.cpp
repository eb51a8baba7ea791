// An artifact's metadata as JSON.
#include "runtime/Artifact.h"

#include <nlohmann/json.hpp>

namespace vernier::runtime {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SizeTerm, argument, dim, constant, roundUps, divisor, roundDown)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SizeExpr, terms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ValueSpec, type, shape, buffers)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BufferSpec, kind, element, shape)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CheckSpec, kind, left, right, argument)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TensorMapSpec, buffer, rows, element)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LaunchSpec, entry, sizes, threads, sharedBytes, waves, cluster, tasks, pieces, cost,
                                   pieceCost, maps, registers, spillBytes, warnings, schedule)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(KernelSpec, name, buffers, launches, rowsOf, operations, reasons, reads, writes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CopySpec, from, to)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(InPlaceSpec, argument, result)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Artifact, name, target, chip, arguments, results, buffers, checks, kernels, copies, inPlace)
} // namespace vernier::runtime

using namespace vernier::runtime;

std::string vernier::runtime::toJson(const Artifact &artifact) {
  nlohmann::json json = artifact;
  json["abi"] = kAbiVersion;
  return json.dump();
}

// Parsing reports through exceptions; they end here.
Artifact vernier::runtime::fromJson(const std::string &text) {
  try {
    nlohmann::json json = nlohmann::json::parse(text);
    if (json.at("abi").get<int>() != kAbiVersion)
      return {};
    return json.get<Artifact>();
  } catch (const nlohmann::json::exception &) {
    return {};
  }
}
