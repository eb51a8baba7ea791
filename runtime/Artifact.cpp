#include "runtime/Artifact.h"

using namespace vernier::runtime;

int64_t vernier::runtime::evaluate(const SizeExpr &expr, const std::vector<Shape> &arguments) {
  int64_t sum = 0;
  for (const SizeTerm &term : expr.terms) {
    int64_t value = term.argument < 0 ? term.constant : arguments[term.argument][term.dim];
    for (int64_t multiple : term.roundUps)
      value = (value + multiple - 1) / multiple * multiple;
    sum += term.roundDown ? value / term.divisor : (value + term.divisor - 1) / term.divisor;
  }
  return sum;
}

std::string vernier::runtime::describe(const SizeExpr &expr) {
  std::string text;
  for (const SizeTerm &term : expr.terms) {
    if (!text.empty())
      text += " + ";
    std::string one = term.argument < 0
                          ? std::to_string(term.constant)
                          : "dimension " + std::to_string(term.dim) + " of argument " + std::to_string(term.argument);
    for (int64_t multiple : term.roundUps)
      one += " rounded up to " + std::to_string(multiple);
    if (term.divisor != 1)
      one += " divided by " + std::to_string(term.divisor);
    text += one;
  }
  return text;
}

unsigned vernier::runtime::elementBytes(const std::string &element) {
  size_t digits = element.find_first_of("0123456789");
  return digits == std::string::npos ? 1 : unsigned(std::stoul(element.substr(digits)) / 8);
}
