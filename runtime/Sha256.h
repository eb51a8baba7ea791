// SHA-256 (FIPS 180-4).
#ifndef VERNIER_RUNTIME_SHA256_H
#define VERNIER_RUNTIME_SHA256_H

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace vernier::runtime {

class Sha256 {
public:
  void update(std::string_view bytes);
  /// Adds the length first, so that two lists of fields never run into one another.
  void field(std::string_view bytes);
  /// The digest in hexadecimal. The object is spent.
  std::string finish();

private:
  void block(const unsigned char *bytes);
  std::array<uint32_t, 8> state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char pending[64];
  size_t pendingBytes = 0;
  uint64_t totalBytes = 0;
};

std::string sha256(std::string_view bytes);

} // namespace vernier::runtime

#endif
