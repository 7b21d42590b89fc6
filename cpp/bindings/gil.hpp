// The GIL, left during native work and taken back for what Python has to say meanwhile.
//
// A daemon thread may be inside of native work when the interpreter ends. Up to Python 3.13 such a thread ends with
// pthread_exit where it asks for the GIL: that unwinds its stack, and the first destructor that may not throw ends the
// process with an abort. So the thread sleeps instead until the process is gone, as Python does from 3.14 on. Its frames
// stay, and with them the arrays that its helpers may still work on.
#pragma once

#include <Python.h>

#include <chrono>
#include <exception>
#include <thread>

namespace qpsbgd::python {

[[noreturn]] inline void sleep_until_the_process_ends() {
    for (;;) {
        std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

// The result of `take`, which takes the GIL; does not return once the interpreter is ending.
template <class Take>
auto taken(const Take& take) {
    if (Py_IsInitialized() == 0) {
        sleep_until_the_process_ends();
    }
    try {
        return take();
    } catch (...) {
        // pthread_exit unwinds without an exception of C++.
        if (std::current_exception() == nullptr) {
            sleep_until_the_process_ends();
        }
        throw;
    }
}

// Holds the GIL for a while, on a thread that left it.
class WithGil {
public:
    WithGil() : state_(taken([] { return PyGILState_Ensure(); })) {}
    WithGil(const WithGil&) = delete;
    WithGil& operator=(const WithGil&) = delete;
    WithGil(WithGil&&) = delete;
    WithGil& operator=(WithGil&&) = delete;
    ~WithGil() { PyGILState_Release(state_); }

private:
    PyGILState_STATE state_;
};

// Leaves the GIL to others for a while.
class WithoutGil {
public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;
    WithoutGil(WithoutGil&&) = delete;
    WithoutGil& operator=(WithoutGil&&) = delete;
    ~WithoutGil() {
        taken([this] { PyEval_RestoreThread(state_); });
    }

private:
    PyThreadState* state_;
};

}  // namespace qpsbgd::python
