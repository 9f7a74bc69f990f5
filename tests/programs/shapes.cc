// Something for a C++ compiler: templates over templates, the containers, and threads with thread-local objects.
#include <algorithm>
#include <atomic>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <vector>

template <int N> struct Shape {
    std::vector<double> at = std::vector<double>(N + 1, N);
    std::map<std::string, std::shared_ptr<Shape<N - 1>>> parts;
    double measure() const {
        double sum = std::accumulate(at.begin(), at.end(), 0.0);
        for (auto &[name, part] : parts) sum += part->measure() + name.size();
        return sum;
    }
    static std::shared_ptr<Shape> make(int width) {
        auto shape = std::make_shared<Shape>();
        for (int i = 0; i < width; i++) shape->parts["part " + std::to_string(i * N)] = Shape<N - 1>::make(width - 1);
        return shape;
    }
};
template <> struct Shape<0> {
    double measure() const { return 1; }
    static std::shared_ptr<Shape> make(int) { return std::make_shared<Shape>(); }
};

struct alignas(64) Wide { double value[8]; };

thread_local std::map<int, std::string> notes;

template <typename... T> std::tuple<std::vector<T>...> columns(size_t n) { return {std::vector<T>(n)...}; }

int main() {
    std::cout << Shape<5>::make(5)->measure() << ' ' << Shape<7>::make(3)->measure() << '\n';
    std::unordered_map<std::string, std::set<int>> index;
    for (int i = 0; i < 30000; i++) index["key" + std::to_string(i * 7919 % 501)].insert(i % 97);
    std::vector<std::pair<size_t, std::string>> sizes;
    for (auto &[key, values] : index) sizes.emplace_back(values.size(), key);
    std::sort(sizes.begin(), sizes.end());
    std::cout << sizes.size() << ' ' << sizes.front().second << ' ' << sizes.back().second << '\n';
    auto [ints, words, wides] = columns<int, std::string, Wide>(1000);
    std::atomic<size_t> total{0}, skewed{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; t++)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 2000; i++) notes[i % 300] += std::string(i % 40, 'a' + t);
            for (auto &[key, note] : notes) total += note.size();
            auto wide = std::make_unique<Wide[]>(50);
            skewed += reinterpret_cast<size_t>(wide.get()) % 64;
        });
    for (auto &thread : threads) thread.join();
    std::cout << total << ' ' << skewed << ' ' << ints.size() + words.size() + wides.size() << '\n';
    try { std::vector<char>(static_cast<size_t>(-1) / 4); } catch (const std::bad_alloc &) { std::cout << "refused\n"; }
    try { throw std::runtime_error(std::string(5000, 'x')); } catch (const std::exception &e) { std::cout << std::string(e.what()).size() << '\n'; }
}
