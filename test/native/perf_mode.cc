#include <cstdio>

#include "test/native/backends.h"
#include "test/native/modes.h"
#include "test/native/op_table.h"

namespace hrm::optable {

void run_perf(const Options& options, Report& report) {
  const auto backend = make_backend(options.backend, options.threads), naive = make_backend("reference-f32", 1);
  const auto seconds_on = [](const OpCase& op, Backend& on) {
    std::vector<int64_t> rows(static_cast<size_t>(op.batch));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
    Fixture fixture(on, rows);
    fixture.timed = true;
    op.run(fixture);
    return fixture.seconds;
  };
  for (const OpCase& op : op_cases()) {
    if (!op.perf || !report.selects(op.name)) continue;
    const double seconds = seconds_on(op, *backend), naive_seconds = seconds_on(op, *naive);
    char text[160];
    std::snprintf(text, sizeof text, "%.1f us %.2f GFLOP/s, reference %.1f us %.2f GFLOP/s, x%.2f", seconds * 1e6,
                  op.flops / seconds * 1e-9, naive_seconds * 1e6, op.flops / naive_seconds * 1e-9,
                  naive_seconds / seconds);
    report.note(op.name, text);
  }
}

}  // namespace hrm::optable
