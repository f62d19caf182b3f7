#include <napi.h>

#include "binding/addon_data.h"

using hrm::binding::initialise;

NODE_API_MODULE(hrm, initialise)
