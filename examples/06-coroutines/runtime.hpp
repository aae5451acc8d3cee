// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A small runtime for C++20 coroutines: tasks that a few threads take turns to run.
#pragma once

#include <chrono>
#include <condition_variable>
#include <coroutine>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

namespace coro {

using Clock = std::chrono::steady_clock;

struct Task;
void spawned(Task* task);
void retired(Task* task);

// One coroutine. Its address tells it from others while it lives, and is used again afterwards.
struct Task {
    std::coroutine_handle<> handle;
};

// What a coroutine returns to its caller: nothing. It runs once a thread takes it from the queue.
struct Detached {
    struct promise_type : Task {
        Detached get_return_object() {
            handle = std::coroutine_handle<promise_type>::from_promise(*this);
            return {};
        }
        // Only now, suspended, may it run elsewhere.
        struct Spawn : std::suspend_always {
            void await_suspend(std::coroutine_handle<promise_type> self) noexcept { spawned(&self.promise()); }
        };
        Spawn initial_suspend() noexcept { return {}; }
        auto final_suspend() noexcept {
            retired(this);
            return std::suspend_never();  // the coroutine frees itself
        }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

class Runtime {
public:
    void start(int threads) {
        for (int i = 0; i < threads; ++i) std::thread([this] { work(); }).detach();
    }

    // From here on any thread may run the task.
    void post(Task* task, Clock::time_point not_before = {}) {
        const std::lock_guard lock(mutex_);
        if (not_before == Clock::time_point()) ready_.push_back(task);
        else sleeping_.emplace(not_before, task);
        changed_.notify_one();
    }

private:
    void work();
    Task* next();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Task*> ready_;
    std::multimap<Clock::time_point, Task*> sleeping_;
};

inline Runtime& runtime() {
    static Runtime instance;
    return instance;
}

// The four things that happen to a task, as functions of their own: what a Probe hooks.

// A task was made; it waits for its first turn.
[[gnu::noinline, gnu::noclone]] void spawned(Task* task) {
    runtime().post(task);
}

// The current thread runs the task until it is parked or retired.
[[gnu::noinline, gnu::noclone]] void run(Task* task) {
    task->handle.resume();
}

// The task leaves the current thread, to go on when its time has come: perhaps on another one, perhaps at once.
[[gnu::noinline, gnu::noclone]] void park(Task* task, Clock::time_point not_before) {
    runtime().post(task, not_before);
}

// The task is over.
[[gnu::noinline, gnu::noclone]] void retired(Task* task) {
    task->handle = nullptr;
}

// co_await yield(): others first. co_await sleep(duration).
struct Pause {
    Clock::time_point not_before;

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<Detached::promise_type> self) const { park(&self.promise(), not_before); }
    void await_resume() const noexcept {}
};
inline Pause yield() {
    return {};
}
inline Pause sleep(Clock::duration duration) {
    return {Clock::now() + duration};
}

inline Task* Runtime::next() {
    std::unique_lock lock(mutex_);
    for (;;) {
        if (!sleeping_.empty() && sleeping_.begin()->first <= Clock::now())
            return sleeping_.extract(sleeping_.begin()).mapped();
        if (!ready_.empty()) {
            Task* const task = ready_.front();
            ready_.pop_front();
            return task;
        }
        if (sleeping_.empty()) changed_.wait(lock);
        else changed_.wait_until(lock, Clock::time_point(sleeping_.begin()->first));
    }
}

inline void Runtime::work() {
    for (;;) run(next());
}

}  // namespace coro
