#include <napi.h>

namespace hrm::binding {

static Napi::Object init(Napi::Env, Napi::Object exports) { return exports; }

}  // namespace hrm::binding

NODE_API_MODULE(hrm, hrm::binding::init)
