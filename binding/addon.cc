#include <napi.h>

#include "binding/addon_data.h"
#include "binding/convert.h"

namespace hrm::binding {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  return guarded(env, [&] {
    env.SetInstanceData(new AddonData(env));
    export_engine(env, exports);
    export_session(env);
    export_os(env, exports);
    export_debug(env, exports);
    return exports;
  });
}

}  // namespace hrm::binding
