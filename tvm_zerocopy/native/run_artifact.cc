// Runs a compiled artifact on frames with TVM's runtime alone: no Python, no compiler. For boards.
//
//   run_artifact DETECTOR.so FRAME... [--save DIR] [--repeat N] [--threads N]
//
// FRAME is a NumPy file (frame.npy) or raw bytes with their shape (1080x1920x3:frame.bgr); an artifact whose program
// takes several tensors (planes) takes as many, in its order. Prints one JSON object, as `tvm-zerocopy detect --json -`
// does (nothing if the artifact gives raw outputs). --save writes every output as DIR/output0.npy and so on; --repeat
// gives the median, least and greatest time of a frame in milliseconds, on standard error.
//
// tvm_zerocopy/artifact.py says how the file is laid out. Everything in it is checked before any of it is executed.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/extra/module.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "sha256.h"

namespace {

namespace ffi = tvm::ffi;
namespace json = tvm::ffi::json;
using Shape = std::vector<int64_t>;

[[noreturn]] void Fail(const std::string& message) { throw std::runtime_error(message); }

// --- memory ----------------------------------------------------------------------------------------------------------

constexpr size_t kAlignment = 64;  // of every tensor that the program addresses with whole vectors

size_t Bytes(const DLTensor* tensor) {
  size_t count = 1;
  for (int i = 0; i < tensor->ndim; ++i) count *= static_cast<size_t>(tensor->shape[i]);
  return count * ((tensor->dtype.bits * tensor->dtype.lanes + 7) / 8);
}

struct Aligned {
  void AllocData(DLTensor* tensor) {
    const size_t bytes = (Bytes(tensor) + kAlignment) / kAlignment * kAlignment;
    tensor->data = std::aligned_alloc(kAlignment, bytes);
    if (tensor->data == nullptr) Fail("out of memory: " + std::to_string(bytes) + " bytes");
    std::memset(tensor->data, 0, bytes);
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

struct Borrowed {
  void* data;
  void AllocData(DLTensor* tensor) { tensor->data = data; }
  void FreeData(DLTensor*) {}
};

constexpr struct {
  const char *name, *descr;  // TVM's and NumPy's
  uint8_t code, bits;
} kTypes[] = {{"uint8", "|u1", kDLUInt, 8},
              {"int32", "<i4", kDLInt, 32},
              {"int64", "<i8", kDLInt, 64},
              {"float16", "<f2", kDLFloat, 16},
              {"float32", "<f4", kDLFloat, 32}};

DLDataType TypeOf(const std::string& name) {
  for (const auto& type : kTypes) {
    if (name == type.name) return DLDataType{type.code, type.bits, 1};
  }
  Fail("the program uses " + name + ", which this runner does not know");
}

const char* DescrOf(DLDataType dtype) {
  for (const auto& type : kTypes) {
    if (dtype.code == type.code && dtype.bits == type.bits) return type.descr;
  }
  return "|V1";
}

ffi::Tensor Allocate(const Shape& shape, const std::string& dtype) {
  return ffi::Tensor::FromNDAlloc(Aligned{}, ffi::ShapeView(shape.data(), shape.size()), TypeOf(dtype),
                                  DLDevice{kDLCPU, 0});
}

// --- JSON ------------------------------------------------------------------------------------------------------------

json::Value Get(const json::Object& object, const char* key) {
  auto found = object.find(ffi::String(key));
  if (found == object.end()) Fail(std::string("the artifact's metadata has no ") + key);
  return (*found).second;
}

std::string Text(const json::Value& value) { return std::string(value.cast<ffi::String>()); }

std::string Quote(const std::string& text) { return std::string(json::Stringify(json::Value(ffi::String(text)))); }

// --- the artifact ----------------------------------------------------------------------------------------------------

struct Footer {  // artifact.FOOTER, little endian
  uint32_t format, zero;
  uint64_t weights_at, weights_bytes, metadata_at, metadata_bytes;
  uint8_t digest[32];
  uint8_t magic[8];
};
static_assert(sizeof(Footer) == 80, "the layout of artifact.FOOTER");

class Artifact {
 public:
  explicit Artifact(const std::string& path) : path_(path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file < 0 || fstat(file, &status) != 0) Fail(path + " cannot be read: " + std::strerror(errno));
    size_ = static_cast<size_t>(status.st_size);
    if (size_ < sizeof(Footer)) Fail(path + " is no artifact or was cut off: compile the model again");
    void* mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (mapped == MAP_FAILED) Fail(path + " cannot be mapped: " + std::strerror(errno));
    data_ = static_cast<uint8_t*>(mapped);
    Verify();
    metadata_ = json::Parse(ffi::String(reinterpret_cast<char*>(data_ + footer_.metadata_at), footer_.metadata_bytes))
                    .cast<json::Object>();
    if (Text(Get(metadata_, "device")) != "cpu") Fail(path + " was compiled for a GPU; this runner runs CPU artifacts");
  }

  const json::Object& metadata() const { return metadata_; }

  ffi::Tensor Weights() const {
    const int64_t bytes = static_cast<int64_t>(footer_.weights_bytes);
    return ffi::Tensor::FromNDAlloc(Borrowed{data_ + footer_.weights_at}, ffi::ShapeView(&bytes, 1), TypeOf("uint8"),
                                    DLDevice{kDLCPU, 0});
  }

  // The loader goes by the suffix, so it sees the file under a name that has it.
  ffi::Module Load() const {
    char folder[] = "/tmp/run_artifact.XXXXXX";
    char* real = realpath(path_.c_str(), nullptr);
    if (real == nullptr || mkdtemp(folder) == nullptr) Fail(path_ + " cannot be linked to /tmp: " + std::strerror(errno));
    const std::string link = std::string(folder) + "/program.so";
    const bool linked = symlink(real, link.c_str()) == 0;
    std::free(real);
    try {
      ffi::Module module = ffi::Module::LoadFromFile(linked ? link : path_);
      unlink(link.c_str()), rmdir(folder);
      return module;
    } catch (const std::exception& error) {
      unlink(link.c_str()), rmdir(folder);
      Fail(path_ + " is intact but cannot be loaded: " + error.what());
    }
  }

 private:
  void Verify() {
    const size_t end = size_ - sizeof(Footer);
    std::memcpy(&footer_, data_ + end, sizeof(Footer));
    if (std::memcmp(footer_.magic, "\x89TVMZC\r\n", 8) != 0) {
      Fail(path_ + " has no tvm-zerocopy footer: foreign, or cut off; compile the model again");
    }
    if (footer_.format != 1) {
      Fail(path_ + " has artifact format " + std::to_string(footer_.format) + "; this runner reads format 1");
    }
    Footer unsigned_footer = footer_;
    std::memset(unsigned_footer.digest, 0, sizeof(unsigned_footer.digest));
    Sha256 hash;
    hash.Update(data_, end);
    hash.Update(reinterpret_cast<const uint8_t*>(&unsigned_footer), sizeof(Footer));
    const auto digest = hash.Digest();
    if (std::memcmp(digest.data(), footer_.digest, digest.size()) != 0) {
      Fail(path_ + " is damaged (its SHA-256 does not match); copy it again, or compile the model again");
    }
    CheckMachine();
  }

  void CheckMachine() const {
    uint16_t made_for, here;  // e_machine, elf(5)
    std::memcpy(&made_for, data_ + 18, sizeof(made_for));
    std::ifstream self("/proc/self/exe", std::ios::binary);
    self.seekg(18).read(reinterpret_cast<char*>(&here), sizeof(here));
    if (self && made_for != here) {
      Fail(path_ + " was compiled for ELF machine " + std::to_string(made_for) + " and this is " +
           std::to_string(here) + " (62: x86_64, 183: aarch64); compile it for this target");
    }
  }

  std::string path_;
  uint8_t* data_ = nullptr;  // mapped for as long as the process lives
  size_t size_ = 0;
  Footer footer_{};
  json::Object metadata_;
};

// --- frames ----------------------------------------------------------------------------------------------------------

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Fail(path + " cannot be read: " + std::strerror(errno));
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

Shape Numbers(const std::string& text) {
  Shape numbers;
  for (size_t i = 0; i < text.size();) {
    if (!std::isdigit(static_cast<unsigned char>(text[i]))) {
      ++i;
      continue;
    }
    size_t used = 0;
    numbers.push_back(std::stoll(text.substr(i), &used));
    i += used;
  }
  return numbers;
}

struct Frame {
  Shape shape;
  std::string dtype, bytes;
};

// The value of a key in a .npy header, up to `close`: {'descr': '|u1', 'fortran_order': False, 'shape': (4, 5), }
std::string HeaderField(const std::string& header, const std::string& key, char open, char close) {
  const size_t at = header.find("'" + key + "'");
  const size_t begin = at == std::string::npos ? at : header.find(open, at + key.size() + 2);
  const size_t end = begin == std::string::npos ? begin : header.find(close, begin + 1);
  if (end == std::string::npos) Fail("a .npy header without " + key);
  return header.substr(begin + 1, end - begin - 1);
}

Frame ReadNpy(const std::string& path) {
  const std::string file = ReadFile(path);
  if (file.size() < 12 || file.compare(0, 6, "\x93NUMPY") != 0) Fail(path + " is not a .npy file");
  const bool first = file[6] == 1;  // version 1 has a 2-byte header length, later ones 4
  uint32_t length = 0;
  std::memcpy(&length, file.data() + 8, first ? 2 : 4);
  const size_t begin = first ? 10 : 12;
  if (begin + length > file.size()) Fail(path + " was cut off");
  const std::string header = file.substr(begin, length), descr = HeaderField(header, "descr", '\'', '\'');
  if (header.find("'fortran_order': True") != std::string::npos) Fail(path + " is in Fortran order; save it in C order");
  for (const auto& type : kTypes) {
    if (descr == type.descr) return {Numbers(HeaderField(header, "shape", '(', ')')), type.name, file.substr(begin + length)};
  }
  Fail(path + " holds " + descr + "; save it as uint8 or float32");
}

Frame ReadFrame(const std::string& argument, const std::string& dtype) {
  const size_t colon = argument.find(':');
  if (colon != std::string::npos && argument.find_first_not_of("0123456789x") == colon) {
    return {Numbers(argument.substr(0, colon)), dtype, ReadFile(argument.substr(colon + 1))};
  }
  return ReadNpy(argument);
}

std::string Show(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + (shape[i] < 0 ? "any" : std::to_string(shape[i]));
  return text + ")";
}

ffi::Tensor Input(const json::Object& spec, const std::string& argument) {
  const std::string name = Text(Get(spec, "name")), dtype = Text(Get(spec, "dtype"));
  Shape wanted;  // -1: any size
  for (const json::Value& extent : Get(spec, "shape").cast<json::Array>()) {
    wanted.push_back(extent == nullptr ? -1 : extent.cast<int64_t>());
  }
  const Frame frame = ReadFrame(argument, dtype);
  bool fits = frame.shape.size() == wanted.size() && frame.dtype == dtype;
  for (size_t i = 0; fits && i < wanted.size(); ++i) fits = wanted[i] < 0 ? frame.shape[i] > 0 : wanted[i] == frame.shape[i];
  if (!fits) Fail(name + " must be " + dtype + " " + Show(wanted) + "; " + argument + " is " + frame.dtype + " " + Show(frame.shape));
  ffi::Tensor tensor = Allocate(frame.shape, dtype);
  const size_t bytes = Bytes(tensor.GetDLTensorPtr());
  if (frame.bytes.size() != bytes) {
    Fail(argument + " has " + std::to_string(frame.bytes.size()) + " bytes; its shape needs " + std::to_string(bytes));
  }
  std::memcpy(tensor.data_ptr(), frame.bytes.data(), bytes);
  return tensor;
}

// --- results ---------------------------------------------------------------------------------------------------------

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);  // a float32's value exactly
  return text;
}

// Boxes, scores, classes and count, batch first, as one JSON object a frame of the batch.
void PrintDetections(const std::vector<ffi::Tensor>& outputs, const json::Value& names) {
  const float* boxes = static_cast<const float*>(outputs[0].data_ptr());
  const float* scores = static_cast<const float*>(outputs[1].data_ptr());
  const int32_t* classes = static_cast<const int32_t*>(outputs[2].data_ptr());
  const int32_t* count = static_cast<const int32_t*>(outputs[3].data_ptr());
  const int64_t most = outputs[1].size(1);
  for (int64_t frame = 0; frame < outputs[3].size(0); ++frame) {
    std::ostringstream line;
    line << "{\"frame\": " << frame << ", \"detections\": [";
    for (int64_t i = 0; i < count[frame]; ++i) {
      const int64_t at = frame * most + i;
      line << (i ? ", " : "") << "{\"box\": [";
      for (int k = 0; k < 4; ++k) line << (k ? ", " : "") << Number(boxes[4 * at + k]);
      line << "], \"score\": " << Number(scores[at]) << ", \"class\": " << classes[at];
      if (names != nullptr) line << ", \"name\": " << Quote(Text(names.cast<json::Array>()[classes[at]]));
      line << "}";
    }
    std::printf("%s]}\n", line.str().c_str());
  }
}

// A tensor as NumPy's format, version 1.0.
void SaveNpy(const ffi::Tensor& tensor, const std::string& path) {
  Shape shape(tensor.shape().begin(), tensor.shape().end());
  std::string extents;
  for (const int64_t extent : shape) extents += std::to_string(extent) + ",";
  std::string header = std::string("{'descr': '") + DescrOf(tensor.dtype()) +
                       "', 'fortran_order': False, 'shape': (" + extents + "), }";
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";  // data begins at a multiple of 64
  const char length[2] = {static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8).write(length, 2) << header;
  file.write(static_cast<const char*>(tensor.data_ptr()), static_cast<std::streamsize>(Bytes(tensor.GetDLTensorPtr())));
  if (!file.flush()) Fail(path + " cannot be written: " + std::strerror(errno));
}

int64_t Whole(const char* option, const char* text) {
  char* end = nullptr;
  const long long value = text == nullptr ? 0 : std::strtoll(text, &end, 10);
  if (value < 1 || *end != '\0') Fail(std::string(option) + " needs a whole number of at least 1");
  return value;
}

int Run(int argc, char** argv) {
  std::vector<std::string> files;
  std::string save;
  int64_t repeat = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--repeat") == 0) {
      repeat = Whole("--repeat", argv[++i]);
    } else if (std::strcmp(argv[i], "--save") == 0) {
      save = argv[++i] == nullptr ? "" : argv[i];
      if (save.empty()) Fail("--save needs a folder");
    } else if (std::strcmp(argv[i], "--threads") == 0) {  // TVM's pool reads it when it starts
      setenv("TVM_NUM_THREADS", std::to_string(Whole("--threads", argv[++i])).c_str(), 1);
    } else {
      files.push_back(argv[i]);
    }
  }
  if (files.size() < 2) {
    std::fprintf(stderr,
                 "usage: run_artifact DETECTOR.so FRAME.npy|1080x1920x3:FRAME.bgr... [--save DIR] [--repeat N] "
                 "[--threads N]\n");
    return 2;
  }
  const Artifact artifact(files[0]);
  const json::Object program = Get(artifact.metadata(), "program").cast<json::Object>();
  const json::Array inputs = Get(program, "inputs").cast<json::Array>();
  if (inputs.size() != files.size() - 1) {
    Fail("the program takes " + std::to_string(inputs.size()) + " tensor(s); give as many files");
  }
  std::vector<ffi::Any> arguments;
  for (size_t i = 0; i < inputs.size(); ++i) arguments.push_back(Input(inputs[i].cast<json::Object>(), files[i + 1]));
  std::vector<ffi::Tensor> outputs;
  for (const json::Value& value : Get(program, "outputs").cast<json::Array>()) {
    const json::Object spec = value.cast<json::Object>();
    Shape shape;
    for (const json::Value& extent : Get(spec, "shape").cast<json::Array>()) shape.push_back(extent.cast<int64_t>());
    outputs.push_back(Allocate(shape, Text(Get(spec, "dtype"))));
    arguments.push_back(outputs.back());
  }
  arguments.push_back(artifact.Weights());
  arguments.push_back(Allocate({std::max<int64_t>(1, Get(program, "workspace_bytes").cast<int64_t>())}, "uint8"));

  const ffi::Module module = artifact.Load();
  const ffi::Optional<ffi::Function> main = module->GetFunction("main");
  if (!main.has_value()) Fail(files[0] + " has no function main; compile the model again");
  std::vector<ffi::AnyView> views(arguments.begin(), arguments.end());
  std::vector<double> milliseconds;
  for (int64_t i = 0; i <= repeat; ++i) {  // the first one warms up
    ffi::Any result;
    const auto begin = std::chrono::steady_clock::now();
    main.value().CallPacked(ffi::PackedArgs(views.data(), static_cast<int32_t>(views.size())), &result);
    milliseconds.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  for (size_t i = 0; i < outputs.size() && !save.empty(); ++i) {
    SaveNpy(outputs[i], save + "/output" + std::to_string(i) + ".npy");
  }
  if (Get(artifact.metadata(), "postprocess") != nullptr) {
    PrintDetections(outputs, Get(artifact.metadata(), "names"));
  }
  if (repeat > 0) {
    std::sort(milliseconds.begin() + 1, milliseconds.end());
    std::fprintf(stderr, "%lld frames: median %.2f ms, least %.2f, greatest %.2f\n", static_cast<long long>(repeat),
                 milliseconds[1 + static_cast<size_t>(repeat) / 2], milliseconds[1], milliseconds.back());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
