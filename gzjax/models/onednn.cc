// Convolutions of oneDNN on the threads of XLA's own pool.
//
// Images and cotangents are f32[N,H,W,C], kernels f32[h,w,C,K], dense, as XLA
// has them; oneDNN takes them as they are and gets a blocked copy of the kernel.
// A call is cut into pieces, of the batch or of the output channels, each of
// which oneDNN computes on one thread: its own threads would fight with XLA's
// for the cores.

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

// Of a piece of a gradient that is squared; the best of 2^17 to 2^20.
constexpr int64_t kSquaredBytes = 1 << 19;

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
  thread_local std::array<std::vector<float>, kUses> kept;
  auto& own = kept[use];
  size_t floats = bytes / sizeof(float) + 1;
  if (own.size() < floats) own.resize(floats);
  return own.data();
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
  int64_t whole_k;       // output channels of the kernel that k are a part of

  auto Tie() const {
    return std::make_tuple(n, h, w, c, kh, kw, k, oh, ow, sh, sw, top, left,
                           whole_k);
  }
  memory::desc Image() const {
    return {{n, c, h, w}, kFloat, memory::format_tag::nhwc};
  }
  memory::desc Output() const {
    return {{n, k, oh, ow}, kFloat, memory::format_tag::nhwc};
  }
  memory::desc Blocked() const {  // in the order that oneDNN chooses
    return {{k, c, kh, kw}, kFloat, memory::format_tag::any};
  }
  memory::desc Kernel() const {
    return {{k, c, kh, kw},
            kFloat,
            {1, whole_k, kw * c * whole_k, c * whole_k}};
  }
  memory::dims Strides() const { return {sh, sw}; }
  memory::dims Before() const { return {top, left}; }
  memory::dims After() const {
    return {(oh - 1) * sh + kh - h - top, (ow - 1) * sw + kw - w - left};
  }
};

Shape ShapeOf(Sizes image, Sizes kernel, Sizes output, Sizes strides,
              Sizes padding) {
  return {image[0],  image[1],  image[2],   image[3],   kernel[0],
          kernel[1], kernel[3], output[1],  output[2],  strides[0],
          strides[1], padding[0], padding[1], kernel[3]};
}

// Which of the three is computed out of the other two.
enum class Wanted { kOutput, kImage, kKernel };

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

// ------------------------------------------------------------------- handlers

// The output of an image, or the cotangent of the image of an output's: a piece
// of the batch on each thread.
void ByBatch(Wanted wanted, ffi::ThreadPool& pool, const Shape& whole,
             const float* from, const float* kernel, float* to) {
  bool forward = wanted == Wanted::kOutput;
  int64_t threads = pool.num_threads();
  int channel_pieces = Pieces(threads, whole.k / (4 * kBlock));
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

// The cotangent of the kernel, a piece of the output channels on each thread; or
// the sum over examples of its square, an example having whole.n images.
void ByChannels(ffi::ThreadPool& pool, const Shape& whole, int64_t examples,
                bool squares, const float* image, const float* output,
                float* kernel) {
  int64_t blocks = whole.k / kBlock;
  int64_t wanted = pool.num_threads();
  if (squares) {  // a gradient that is squared should be in the cache still
    int64_t bytes = whole.kh * whole.kw * whole.c * whole.k * sizeof(float);
    wanted = std::max(wanted, bytes / kSquaredBytes);
  }
  int pieces = Pieces(wanted, blocks);
  int64_t rows = whole.n * whole.oh * whole.ow;
  int64_t pixels = whole.n * whole.h * whole.w * whole.c;
  ParallelFor(pool, pieces, [&](int i) {
    auto [begin, size] = ChannelPiece(whole.k, pieces, i);
    Shape s = whole;
    s.k = size;
    auto program = Get(Wanted::kKernel, s);
    auto* copy = Kept(kCopy, rows * size * sizeof(float));
    auto* scratch = Kept(kScratch, program->scratch.get_size());
    auto* blocked = Kept(kKernel, program->blocked.get_size());
    size_t entries = program->blocked.get_size() / sizeof(float);
    auto* total = squares ? Kept(kSum, program->blocked.get_size()) : blocked;
    if (squares) std::fill(total, total + entries, 0.0f);
    for (int64_t example = 0; example < examples; ++example) {
      const float* own = output + example * rows * whole.k;
      if (pieces > 1) {
        for (int64_t row = 0; row < rows; ++row)
          std::memcpy(copy + row * size, own + row * whole.k + begin,
                      size * sizeof(float));
        own = copy;
      }
      Execute(program->convolution,
              {{DNNL_ARG_SRC, At(s.Image(), image + example * pixels)},
               {DNNL_ARG_DIFF_DST, At(s.Output(), own)},
               {DNNL_ARG_DIFF_WEIGHTS, At(program->blocked, blocked)},
               {DNNL_ARG_SCRATCHPAD, At(program->scratch, scratch)}});
      if (squares)
        for (size_t entry = 0; entry < entries; ++entry)
          total[entry] += blocked[entry] * blocked[entry];
    }
    auto& part = program->reorders[0];
    Execute(part.reorder, {{DNNL_ARG_FROM, At(part.from, total)},
                           {DNNL_ARG_TO, At(part.to, kernel + begin)}});
  });
}

ffi::Error Guarded(const std::function<void()>& work) {
  try {
    work();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
}

ffi::Error Output(ffi::ThreadPool pool, F32 image, F32 kernel, F32Result output,
                  Sizes strides, Sizes padding) {
  return Guarded([&] {
    auto s = ShapeOf(image.dimensions(), kernel.dimensions(),
                     output->dimensions(), strides, padding);
    ByBatch(Wanted::kOutput, pool, s, image.typed_data(), kernel.typed_data(),
            output->typed_data());
  });
}

ffi::Error Image(ffi::ThreadPool pool, F32 output, F32 kernel, F32Result image,
                 Sizes strides, Sizes padding) {
  return Guarded([&] {
    auto s = ShapeOf(image->dimensions(), kernel.dimensions(),
                     output.dimensions(), strides, padding);
    ByBatch(Wanted::kImage, pool, s, output.typed_data(), kernel.typed_data(),
            image->typed_data());
  });
}

ffi::Error Kernel(ffi::ThreadPool pool, F32 image, F32 output, F32Result kernel,
                  Sizes strides, Sizes padding) {
  return Guarded([&] {
    auto s = ShapeOf(image.dimensions(), kernel->dimensions(),
                     output.dimensions(), strides, padding);
    ByChannels(pool, s, 1, false, image.typed_data(), output.typed_data(),
               kernel->typed_data());
  });
}

// Images and outputs of several examples, one after the other.
ffi::Error Squares(ffi::ThreadPool pool, F32 image, F32 output,
                   F32Result kernel, Sizes strides, Sizes padding,
                   int64_t examples) {
  return Guarded([&] {
    auto s = ShapeOf(image.dimensions(), kernel->dimensions(),
                     output.dimensions(), strides, padding);
    s.n /= examples;
    ByChannels(pool, s, examples, true, image.typed_data(), output.typed_data(),
               kernel->typed_data());
  });
}

}  // namespace

#define GZJAX_BINDING               \
  ffi::Ffi::Bind()                  \
      .Ctx<ffi::ThreadPool>()       \
      .Arg<F32>()                   \
      .Arg<F32>()                   \
      .Ret<F32>()                   \
      .Attr<Sizes>("strides")       \
      .Attr<Sizes>("padding")

XLA_FFI_DEFINE_HANDLER_SYMBOL(GzjaxConvOutput, Output, GZJAX_BINDING);
XLA_FFI_DEFINE_HANDLER_SYMBOL(GzjaxConvImage, Image, GZJAX_BINDING);
XLA_FFI_DEFINE_HANDLER_SYMBOL(GzjaxConvKernel, Kernel, GZJAX_BINDING);
XLA_FFI_DEFINE_HANDLER_SYMBOL(GzjaxConvSquares, Squares,
                              GZJAX_BINDING.Attr<int64_t>("examples"));
