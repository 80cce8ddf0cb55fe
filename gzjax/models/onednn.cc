// Convolutions of oneDNN on the threads of XLA's own pool.
//
// Images and cotangents are f32[N,H,W,C], kernels f32[h,w,C/groups,K], dense,
// as XLA has them; oneDNN takes them as they are and gets a blocked copy of the
// kernel. Groups are one or, of depthwise convolutions, as many as channels.
// A call is cut into pieces, of the batch or of the output channels, each of
// which oneDNN computes on one thread: its own threads would fight with XLA's
// for the cores. Loops of our own take the place of oneDNN for squares and for
// cotangents of depthwise kernels.

#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using dnnl::memory;
using F32 = ffi::Buffer<ffi::F32>;
using F32Result = ffi::Result<F32>;
using Sizes = ffi::Span<const int64_t>;

constexpr auto kFloat = memory::data_type::f32;
constexpr int64_t kBlock = 16;  // floats of a register, channels of a block

// What a thread reads again and again should stay in its cache.
constexpr int64_t kCacheBytes = 1 << 19;

// ------------------------------------------------------------------- threads

// Of this thread only, and only while oneDNN runs.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Runs f(0) ... f(count - 1) on the pool's threads and on this one.
//
// Nobody waits for a piece that no thread has begun, so there is no deadlock
// where all threads of the pool are at such a call. Throws what a piece threw.
void ParallelFor(ffi::ThreadPool& pool, int count,
                 const std::function<void(int)>& f) {
  struct Shared {
    std::atomic<int> next{0};
    std::mutex mutex;
    std::condition_variable all_done;
    int done = 0;
    std::exception_ptr failure;
  };
  auto shared = std::make_shared<Shared>();
  // A thread that comes too late finds no piece, and f is not touched.
  auto work = [shared, count, &f] {
    for (int i; (i = shared->next++) < count;) {
      std::exception_ptr failure;
      try {
        OneThread one_thread;
        f(i);
      } catch (...) {
        failure = std::current_exception();
      }
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (failure) shared->failure = failure;
      if (++shared->done == count) shared->all_done.notify_all();
    }
  };
  for (int i = 1; i < count; ++i) pool.Schedule(std::function<void()>(work));
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == count; });
  if (shared->failure) std::rethrow_exception(shared->failure);
}

struct Range {
  int64_t begin, size;
};

// The i-th of so many even pieces of n.
Range Piece(int64_t n, int pieces, int i) {
  int64_t begin = n * i / pieces;
  return {begin, n * (i + 1) / pieces - begin};
}

// The same in whole blocks of channels; what is over goes to the last one.
Range ChannelPiece(int64_t channels, int pieces, int i) {
  auto [begin, size] = Piece(channels / kBlock, pieces, i);
  begin *= kBlock;
  return {begin, i + 1 == pieces ? channels - begin : size * kBlock};
}

int Pieces(int64_t threads, int64_t most) {
  return static_cast<int>(std::max<int64_t>(1, std::min(threads, most)));
}

// Memory of this thread that is kept for the next call, one for each use.
enum Use { kScratch, kCopy, kKernel, kSum, kUses };

float* Kept(Use use, size_t bytes) {
  // A register that crosses lines of the cache takes twice as long to load.
  struct alignas(kBlock * sizeof(float)) Line {
    float values[kBlock];
  };
  thread_local std::array<std::vector<Line>, kUses> kept;
  auto& own = kept[use];
  size_t lines = bytes / sizeof(Line) + 1;
  if (own.size() < lines) own.resize(lines);
  return own.data()->values;
}

// --------------------------------------------------------------------- oneDNN

dnnl::engine& Engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory At(const memory::desc& desc, const float* data) {
  return memory(desc, Engine(), const_cast<float*>(data));
}

void Execute(const dnnl::primitive& primitive,
             const std::unordered_map<int, memory>& arguments) {
  thread_local dnnl::stream stream(Engine());
  primitive.execute(stream, arguments);
  stream.wait();
}

struct Shape {
  int64_t n, h, w, c;    // image
  int64_t kh, kw, k;     // kernel
  int64_t oh, ow;        // output
  int64_t sh, sw;        // strides
  int64_t top, left;     // padding
  int64_t groups;
  int64_t whole_k;       // output channels of the kernel that k are a part of

  auto Tie() const {
    return std::make_tuple(n, h, w, c, kh, kw, k, oh, ow, sh, sw, top, left,
                           groups, whole_k);
  }
  memory::desc Image() const {
    return {{n, c, h, w}, kFloat, memory::format_tag::nhwc};
  }
  memory::desc Output() const {
    return {{n, k, oh, ow}, kFloat, memory::format_tag::nhwc};
  }
  memory::desc Blocked() const {  // in the order that oneDNN chooses
    return {OfKernel({groups}, {k / groups, c / groups, kh, kw}), kFloat,
            memory::format_tag::any};
  }
  memory::desc Kernel() const {
    int64_t pixel = c / groups * whole_k;
    return {OfKernel({groups}, {k / groups, c / groups, kh, kw}), kFloat,
            OfKernel({k / groups}, {1, whole_k, kw * pixel, pixel})};
  }
  // What holds for the groups, if there are several, and for the other axes.
  memory::dims OfKernel(memory::dims of_groups, memory::dims rest) const {
    if (groups == 1) return rest;
    of_groups.insert(of_groups.end(), rest.begin(), rest.end());
    return of_groups;
  }
  memory::dims Strides() const { return {sh, sw}; }
  memory::dims Before() const { return {top, left}; }
  memory::dims After() const {
    return {(oh - 1) * sh + kh - h - top, (ow - 1) * sw + kw - w - left};
  }
};

// One of the three out of the other two, or the sum over examples of the
// squared cotangents of the kernel: in the order of onednn.py.
enum class Wanted : int64_t { kOutput, kImage, kKernel, kSquares };

// A convolution that oneDNN has compiled; it may run on several threads.
struct Program {
  dnnl::primitive convolution;
  memory::desc blocked, scratch;
  struct Reorder {
    dnnl::reorder reorder;
    memory::desc from, to;
  };
  std::vector<Reorder> reorders;  // of the kernel, a piece of its channels each
};

void TakeConvolution(Program& program, Wanted wanted, const Shape& s) {
  auto direct = dnnl::algorithm::convolution_direct;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::convolution_forward::primitive_desc forward(
      Engine(), dnnl::prop_kind::forward_training, direct, s.Image(),
      s.Blocked(), s.Output(), s.Strides(), s.Before(), s.After(), attributes);
  if (wanted == Wanted::kOutput) {
    program.convolution = dnnl::convolution_forward(forward);
    program.blocked = forward.weights_desc();
    program.scratch = forward.scratchpad_desc();
  } else if (wanted == Wanted::kImage) {
    dnnl::convolution_backward_data::primitive_desc found(
        Engine(), direct, s.Image(), s.Blocked(), s.Output(), s.Strides(),
        s.Before(), s.After(), forward, attributes);
    program.convolution = dnnl::convolution_backward_data(found);
    program.blocked = found.weights_desc();
    program.scratch = found.scratchpad_desc();
  } else {
    dnnl::convolution_backward_weights::primitive_desc found(
        Engine(), direct, s.Image(), s.Blocked(), s.Output(), s.Strides(),
        s.Before(), s.After(), forward, attributes);
    program.convolution = dnnl::convolution_backward_weights(found);
    program.blocked = found.diff_weights_desc();
    program.scratch = found.scratchpad_desc();
  }
}

void TakeReorder(Program& program, Wanted wanted, memory::desc from,
                 memory::desc to) {
  if (wanted == Wanted::kKernel) std::swap(from, to);
  dnnl::reorder::primitive_desc found(Engine(), from, Engine(), to);
  program.reorders.push_back({dnnl::reorder(found), from, to});
}

std::shared_ptr<Program> Make(Wanted wanted, const Shape& s, int pieces) {
  OneThread one_thread;
  auto program = std::make_shared<Program>();
  TakeConvolution(*program, wanted, s);
  try {
    for (int i = 0; pieces > 1 && i < pieces; ++i) {
      auto [begin, size] = ChannelPiece(s.k, pieces, i);
      memory::dims sizes{size, s.c, s.kh, s.kw}, start{begin, 0, 0, 0};
      TakeReorder(*program, wanted, s.Kernel().submemory_desc(sizes, start),
                  program->blocked.submemory_desc(sizes, start));
    }
  } catch (const dnnl::error&) {  // the pieces cut through its blocks
    program->reorders.clear();
  }
  if (program->reorders.empty())
    TakeReorder(*program, wanted, s.Kernel(), program->blocked);
  return program;
}

std::shared_ptr<Program> Get(Wanted wanted, const Shape& s, int pieces = 1) {
  using Key = std::tuple<Wanted, decltype(s.Tie()), int>;
  static std::mutex mutex;
  static std::map<Key, std::shared_ptr<Program>> known;
  std::lock_guard<std::mutex> lock(mutex);
  auto& found = known[Key(wanted, s.Tie(), pieces)];
  if (!found) found = Make(wanted, s, pieces);
  return found;
}

// ---------------------------------------------------------------- convolutions

// The output of an image, or the cotangent of the image of an output's: a piece
// of the batch on each thread.
void ByBatch(Wanted wanted, ffi::ThreadPool& pool, const Shape& whole,
             const float* from, const float* kernel, float* to) {
  bool forward = wanted == Wanted::kOutput;
  int64_t threads = pool.num_threads();
  int channel_pieces =
      whole.groups > 1 ? 1 : Pieces(threads, whole.k / (4 * kBlock));
  int pieces = Pieces(threads, whole.n);
  auto shape_of = [&](int i) {
    Shape s = whole;
    s.n = Piece(whole.n, pieces, i).size;
    return s;
  };
  auto first = Get(wanted, shape_of(0), channel_pieces);
  float* blocked = Kept(kKernel, first->blocked.get_size());
  ParallelFor(pool, first->reorders.size(), [&](int i) {
    auto& part = first->reorders[i];
    Execute(part.reorder, {{DNNL_ARG_FROM, At(part.from, kernel)},
                           {DNNL_ARG_TO, At(part.to, blocked)}});
  });
  int64_t image = whole.h * whole.w * whole.c;
  int64_t output = whole.oh * whole.ow * whole.k;
  ParallelFor(pool, pieces, [&](int i) {
    Shape s = shape_of(i);
    auto program = Get(wanted, s, channel_pieces);
    if (program->blocked != first->blocked)
      throw std::runtime_error("pieces of a batch want kernels in two orders");
    int64_t begin = Piece(whole.n, pieces, i).begin;
    auto* own_from = from + begin * (forward ? image : output);
    auto* own_to = to + begin * (forward ? output : image);
    auto* scratch = Kept(kScratch, program->scratch.get_size());
    Execute(program->convolution,
            {{forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST,
              At(forward ? s.Image() : s.Output(), own_from)},
             {DNNL_ARG_WEIGHTS, At(program->blocked, blocked)},
             {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_SRC,
              At(forward ? s.Output() : s.Image(), own_to)},
             {DNNL_ARG_SCRATCHPAD, At(program->scratch, scratch)}});
  });
}

// The cotangent of the kernel: a piece of the output channels on each thread.
void ByChannels(ffi::ThreadPool& pool, const Shape& whole, const float* image,
                const float* output, float* kernel) {
  int pieces = Pieces(pool.num_threads(), whole.k / kBlock);
  int64_t rows = whole.n * whole.oh * whole.ow;
  ParallelFor(pool, pieces, [&](int i) {
    auto [begin, size] = ChannelPiece(whole.k, pieces, i);
    Shape s = whole;
    s.k = size;
    auto program = Get(Wanted::kKernel, s);
    auto* scratch = Kept(kScratch, program->scratch.get_size());
    auto* blocked = Kept(kKernel, program->blocked.get_size());
    const float* own = output;
    if (pieces > 1) {
      auto* copy = Kept(kCopy, rows * size * sizeof(float));
      for (int64_t row = 0; row < rows; ++row)
        std::memcpy(copy + row * size, output + row * whole.k + begin,
                    size * sizeof(float));
      own = copy;
    }
    Execute(program->convolution,
            {{DNNL_ARG_SRC, At(s.Image(), image)},
             {DNNL_ARG_DIFF_DST, At(s.Output(), own)},
             {DNNL_ARG_DIFF_WEIGHTS, At(program->blocked, blocked)},
             {DNNL_ARG_SCRATCHPAD, At(program->scratch, scratch)}});
    auto& part = program->reorders[0];
    Execute(part.reorder, {{DNNL_ARG_FROM, At(part.from, blocked)},
                           {DNNL_ARG_TO, At(part.to, kernel + begin)}});
  });
}

// ------------------------------------------------------ what oneDNN is slow at

// A block of channels of one pixel.
using Vector
    __attribute__((vector_size(kBlock * sizeof(float)), may_alias)) = float;

Vector* KeptVectors(Use use, int64_t count) {
  return reinterpret_cast<Vector*>(Kept(use, count * sizeof(Vector)));
}

// The size of an image with all that its kernel sees, padding too.
int64_t PaddedHeight(const Shape& s) {
  return std::max(s.top + s.h, (s.oh - 1) * s.sh + s.kh);
}

int64_t PaddedWidth(const Shape& s) {
  return std::max(s.left + s.w, (s.ow - 1) * s.sw + s.kw);
}

// Copies some blocks of channels of so many pixels; what lies beyond the last
// channel is left as it is.
template <int64_t blocks>
void Take(const float* from, int64_t pixels, int64_t channels, int64_t begin,
          Vector* to) {
  int64_t size = std::min(blocks * kBlock, channels - begin);
  for (int64_t pixel = 0; pixel < pixels; ++pixel, to += blocks) {
    const float* own = from + pixel * channels + begin;
    if (size == blocks * kBlock)  // a length that the compiler knows
      std::memcpy(to, own, blocks * sizeof(Vector));
    else
      std::memcpy(to, own, size * sizeof(float));
  }
}

// Adds what one row of a depthwise kernel gets of one image, so many pixels of
// the row at a time. The image begins with what the row sees first.
template <int count>
void AddRow(const Shape& s, const Vector* image, const Vector* delta,
            Vector* row) {
  int64_t height = s.oh, width = s.ow;
  int64_t down = s.sh * PaddedWidth(s), step = s.sw;
  for (int64_t first = 0; first < s.kw; first += count) {
    Vector sum[count] = {};
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const Vector* seen = image + y * down + x * step + first;
        Vector own = delta[y * width + x];
        for (int i = 0; i < count; ++i) sum[i] += own * seen[i];
      }
    }
    for (int i = 0; i < count; ++i) row[first + i] += sum[i];
  }
}

// The cotangent of a depthwise kernel, or the sum over examples of its square,
// an example having s.n images: a piece of the examples on each thread, one
// block of channels after the other. oneDNN takes ten times as long for kernels
// of more than 3x3 pixels.
void Depthwise(ffi::ThreadPool& pool, Shape s, int64_t examples, bool squares,
               const float* image, const float* output, float* kernel) {
  if (!squares) std::swap(s.n, examples);  // an image each
  auto add_row = s.kw % 7 == 0   ? AddRow<7>
                 : s.kw % 5 == 0 ? AddRow<5>
                 : s.kw % 3 == 0 ? AddRow<3>
                                 : AddRow<1>;
  int64_t taps = s.kh * s.kw;
  int64_t blocks = (s.k + kBlock - 1) / kBlock;
  int64_t width = PaddedWidth(s), area = PaddedHeight(s) * width;
  int pieces = Pieces(pool.num_threads(), examples);
  size_t entries = blocks * taps * kBlock;
  float* sums = Kept(kSum, pieces * entries * sizeof(float));
  std::fill(sums, sums + pieces * entries, 0.0f);
  ParallelFor(pool, pieces, [&](int i) {
    Vector* padded = KeptVectors(kScratch, area);
    std::fill(padded, padded + area, Vector{});
    Vector* delta = KeptVectors(kCopy, s.oh * s.ow);
    Vector* gradient = KeptVectors(kKernel, taps);
    auto* total = reinterpret_cast<Vector*>(sums + i * entries);
    auto [begin, size] = Piece(examples, pieces, i);
    for (int64_t block = 0; block < blocks; ++block, total += taps) {
      for (int64_t example = begin; example < begin + size; ++example) {
        std::fill(gradient, gradient + taps, Vector{});
        for (int64_t n = example * s.n; n < (example + 1) * s.n; ++n) {
          for (int64_t y = 0; y < s.h; ++y)
            Take<1>(image + (n * s.h + y) * s.w * s.c, s.w, s.c, block * kBlock,
                    padded + (s.top + y) * width + s.left);
          Take<1>(output + n * s.oh * s.ow * s.k, s.oh * s.ow, s.k,
                  block * kBlock, delta);
          for (int64_t y = 0; y < s.kh; ++y)
            add_row(s, padded + y * width, delta, gradient + y * s.kw);
        }
        for (int64_t tap = 0; tap < taps; ++tap)
          total[tap] += squares ? gradient[tap] * gradient[tap] : gradient[tap];
      }
    }
  });
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t channel = 0; channel < s.k; ++channel) {
      const float* own = sums + (channel / kBlock * taps + tap) * kBlock;
      float total = 0;
      for (int i = 0; i < pieces; ++i)
        total += own[i * entries + channel % kBlock];
      kernel[tap * s.k + channel] = total;
    }
  }
}

// A tile of a kernel's gradient that fits the registers: so many rows, which
// are inputs of one row of the kernel, and blocks of output channels. Of maps
// of few positions half as many rows, and then the sum of squares fits, too.
#ifdef __AVX512F__
constexpr int64_t kRows = 12, kWide = 2;
#else
constexpr int64_t kRows = 4, kWide = 1;
#endif
constexpr int64_t kFewPositions = 16;

// Adds the squares of a tile of the gradients of some examples. The padded
// images begin with the tile's first input.
template <int64_t rows>
void AddSquares(const Shape& s, int64_t examples, const float* image,
                const Vector* delta, Vector* total) {
  int64_t images = s.n, height = s.oh, width = s.ow, step = s.sw * s.c;
  int64_t line = PaddedWidth(s) * s.c, area = PaddedHeight(s) * line;
  int64_t down = s.sh * line;
  Vector own[rows][kWide];
  std::memcpy(own, total, sizeof(own));
  for (int64_t example = 0; example < examples; ++example) {
    Vector sum[rows][kWide] = {};
    for (int64_t n = 0; n < images; ++n, image += area) {
      for (int64_t y = 0; y < height; ++y) {
        const float* seen = image + y * down;
        for (int64_t x = 0; x < width; ++x, seen += step, delta += kWide)
          for (int row = 0; row < rows; ++row)
            for (int i = 0; i < kWide; ++i) sum[row][i] += seen[row] * delta[i];
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row)
      for (int i = 0; i < kWide; ++i) own[row][i] += sum[row][i] * sum[row][i];
  }
  std::memcpy(total, own, sizeof(own));
}

// The sum over examples, of s.n images each, of a kernel's squared cotangent:
// some tiles of it on each thread. No gradient leaves the registers, which
// oneDNN would write and a sum of squares read again.
template <int64_t rows>
void Squares(ffi::ThreadPool& pool, const Shape& s, int64_t examples,
             const float* image, const float* output, float* kernel) {
  int64_t threads = pool.num_threads(), images = examples * s.n;
  int64_t line = PaddedWidth(s) * s.c, area = PaddedHeight(s) * line;
  // The last tile of a row reads what is no input of it.
  std::unique_ptr<float[]> padded(new float[images * area + rows]);
  std::fill_n(padded.get() + images * area, rows, 0.0f);
  int copies = Pieces(threads, images);
  ParallelFor(pool, copies, [&](int i) {
    auto [begin, size] = Piece(images, copies, i);
    std::fill_n(padded.get() + begin * area, size * area, 0.0f);
    for (int64_t n = begin; n < begin + size; ++n)
      for (int64_t y = 0; y < s.h; ++y)
        std::memcpy(padded.get() + n * area + (s.top + y) * line + s.left * s.c,
                    image + (n * s.h + y) * s.w * s.c,
                    s.w * s.c * sizeof(float));
  });
  int64_t inputs = s.kw * s.c, positions = s.n * s.oh * s.ow;
  int64_t in_row = (inputs + rows - 1) / rows, in_column = s.kh * in_row;
  int64_t columns = (s.k + kWide * kBlock - 1) / (kWide * kBlock);
  // Of an example a tile reads lines of the cache.
  int64_t bytes = positions * (kWide + 1) * sizeof(Vector);
  int64_t few = std::clamp<int64_t>(kCacheBytes / bytes, 1, examples);
  int pieces = Pieces(4 * threads, columns * in_column);
  ParallelFor(pool, pieces, [&](int i) {
    auto [begin, size] = Piece(columns * in_column, pieces, i);
    Vector* totals = KeptVectors(kSum, size * rows * kWide);
    std::fill(totals, totals + size * rows * kWide, Vector{});
    Vector* delta = KeptVectors(kCopy, few * positions * kWide);
    for (int64_t first = 0; first < examples; first += few) {
      int64_t count = std::min(few, examples - first);
      for (int64_t tile = begin; tile < begin + size; ++tile) {
        int64_t column = tile / in_column, place = tile % in_column;
        if (tile == begin || place == 0)
          Take<kWide>(output + first * positions * s.k, count * positions, s.k,
                      column * kWide * kBlock, delta);
        const float* seen = padded.get() + first * s.n * area +
                            place / in_row * line + place % in_row * rows;
        AddSquares<rows>(s, count, seen, delta,
                         totals + (tile - begin) * rows * kWide);
      }
    }
    for (int64_t tile = begin; tile < begin + size; ++tile) {
      int64_t channel = tile / in_column * kWide * kBlock;
      int64_t place = tile % in_column, x = place % in_row * rows;
      int64_t wide = std::min(kWide * kBlock, s.k - channel);
      for (int64_t row = 0; row < std::min(rows, inputs - x); ++row)
        std::memcpy(
            kernel + (place / in_row * inputs + x + row) * s.k + channel,
            totals + ((tile - begin) * rows + row) * kWide,
            wide * sizeof(float));
    }
  });
}

// --------------------------------------------------------------------- handler

// Operands and result are those of image, kernel and output, in this order,
// that are given and that one which is wanted. Images and outputs of several
// examples come one after the other.
ffi::Error Convolve(ffi::ThreadPool pool, F32 left, F32 right, F32Result result,
                    int64_t number, int64_t examples, int64_t groups,
                    Sizes strides, Sizes padding) {
  auto wanted = static_cast<Wanted>(number);
  bool of_output = wanted == Wanted::kOutput;
  bool of_image = wanted == Wanted::kImage;
  bool of_kernel = !of_output && !of_image;
  bool squares = wanted == Wanted::kSquares;
  Sizes found = result->dimensions();
  Sizes image = of_image ? found : left.dimensions();
  Sizes kernel = of_kernel ? found : right.dimensions();
  Sizes output = of_output  ? found
                 : of_image ? left.dimensions()
                            : right.dimensions();
  Shape s = {image[0] / examples, image[1],   image[2],   image[3],
             kernel[0],           kernel[1],  kernel[3],  output[1],
             output[2],           strides[0], strides[1], padding[0],
             padding[1],          groups,     kernel[3]};
  try {
    if (std::min(s.top, s.left) < 0)
      throw std::invalid_argument("an image that is cropped");
    if (groups > 1 && (groups != s.c || groups != s.k))
      throw std::invalid_argument("groups of several channels");
    const float *a = left.typed_data(), *b = right.typed_data();
    float* to = result->typed_data();
    bool few = s.n * s.oh * s.ow <= kFewPositions;
    if (!of_kernel)
      ByBatch(wanted, pool, s, a, b, to);
    else if (groups > 1)
      Depthwise(pool, s, examples, squares, a, b, to);
    else if (squares)
      (few ? Squares<kRows / 2> : Squares<kRows>)(pool, s, examples, a, b, to);
    else
      ByChannels(pool, s, a, b, to);
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(GzjaxConv, Convolve,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Ret<F32>()
                                  .Attr<int64_t>("wanted")
                                  .Attr<int64_t>("examples")
                                  .Attr<int64_t>("groups")
                                  .Attr<Sizes>("strides")
                                  .Attr<Sizes>("padding"));
