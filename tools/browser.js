// The page that classifies a sound in the browser: the exported model, run by onnxruntime-web. What it says is what urbansounds_nb.predict says.
const HOP = 1, LENGTH = 4, LONGEST = 60, LARGEST = 50e6        // s, s, s, bytes
const place = new URL('./', document.currentScript.src)
const box = document.getElementById('hear')
const word = label => label.replaceAll('_', ' ')
const percent = p => `${(100*p).toFixed(0)} %`

function element(tag, settings = {}, ...children) {
  const made = Object.assign(document.createElement(tag), settings)
  made.append(...children)
  return made
}

// --- as in 06_predict: windows, answers, time line, summary

function windows(wave, rate) {
  const size = LENGTH*rate, cut = []
  let heard = 0
  for (let at = 0; wave.length - at >= size; at += HOP*rate) {
    cut.push([at, at + size])
    heard = at + size
  }
  if (wave.length - heard > (heard ? Math.floor(rate/40) : 0)) cut.push([Math.max(0, wave.length - size), wave.length])
  return cut.map(([start, end]) => ({start: start/rate, end: end/rate, wave: wave.slice(start, end)}))
}

function deviation(wave) {
  const mean = wave.reduce((a, b) => a + b, 0)/wave.length
  return Math.sqrt(wave.reduce((sum, x) => sum + (x - mean)**2, 0)/wave.length)
}

async function answer({start, end, wave}, {session, ort, facts}) {
  if (deviation(wave) < facts.silence) return {start, end, label: 'silence', probability: 1, probabilities: facts.classes.map(() => 0)}
  const {probabilities: {data}, strangeness} = await session.run({wave: new ort.Tensor('float32', wave, [1, wave.length])})
  const probabilities = [...data], probability = Math.max(...probabilities)
  const unknown = probability < facts.unknown_below || strangeness.data[0] > facts.unknown_beyond
  return {start, end, label: unknown ? 'unknown' : facts.classes[probabilities.indexOf(probability)], probability, probabilities}
}

function timeline(answers) {
  const joined = []
  let middle = 0, count = 0
  for (const answer of answers) {
    const before = middle, last = joined.at(-1)
    middle = (answer.start + answer.end)/2
    if (last && last.label === answer.label) {
      count += 1
      last.end = answer.end
      last.probability += (answer.probability - last.probability)/count
      last.probabilities = last.probabilities.map((p, i) => p + (answer.probabilities[i] - p)/count)
      continue
    }
    const start = last ? (before + middle)/2 : answer.start
    if (last) last.end = start
    joined.push({...answer, start})
    count = 1
  }
  return joined
}

function summary(parts) {
  const loud = parts.filter(part => part.label !== 'silence'), some = loud.length ? loud : parts, seconds = {}
  for (const part of some) seconds[part.label] = (seconds[part.label] || 0) + part.end - part.start
  const label = Object.keys(seconds).reduce((best, other) => seconds[other] > seconds[best] ? other : best)
  const mean = (those, value) => those.reduce((sum, part) => sum + (part.end - part.start)*value(part), 0)/those.reduce((sum, part) => sum + part.end - part.start, 0)
  const probabilities = parts[0].probabilities.map((_, i) => mean(some, part => part.probabilities[i]))
  return {label, heard: seconds[label], seconds: parts.at(-1).end, probability: mean(some.filter(part => part.label === label), part => part.probability), probabilities, timeline: parts}
}

// --- sound in: decoded and brought to the model's rate by the browser, mono by mean

async function decode(bytes, name, rate) {
  const context = new OfflineAudioContext(1, 1, rate)
  const sound = await context.decodeAudioData(bytes).catch(() => { throw Error(`${name}: this browser cannot read it as sound: convert it to WAV`) })
  if (sound.duration > LONGEST + .1) throw Error(`${name}: longer than ${LONGEST} s: cut a piece out of it`)
  const wave = new Float32Array(sound.length)
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const samples = sound.getChannelData(channel)
    for (let i = 0; i < wave.length; i++) wave[i] += samples[i]/sound.numberOfChannels
  }
  return wave
}

async function loadModel() {
  const ort = await import(new URL('ort.wasm.bundle.min.mjs', place))
  const wasm = new URL('ort-wasm-simd-threaded.wasm', place).href
  Object.assign(ort.env.wasm, {numThreads: 1, wasmPaths: {wasm}})               // one thread: the server needs no special headers
  const facts = await (await fetch(new URL('model.json', place))).json()
  return {ort, facts, session: await ort.InferenceSession.create(new URL('model.onnx', place).href)}
}

// --- what is seen

const says = element('p', {className: 'hear-says'}), shown = element('div', {className: 'hear-shown'})

function sentence({label, heard, seconds, probability, probabilities}, classes) {
  const likeliest = probabilities.indexOf(Math.max(...probabilities))
  if (label === 'silence') return 'Nothing in it is louder than 80 dB below full scale.'
  if (label === 'unknown') return `None of the classes fits well enough. The likeliest is ${word(classes[likeliest])}, with ${percent(probabilities[likeliest])}.`
  return `Probability ${percent(probability)}, heard for ${heard.toFixed(1)} of ${seconds.toFixed(1)} s.`
}

function show(name, result, {classes, colours}) {
  const colour = label => ({silence: '#fff', unknown: '#d3d3d3'})[label] || colours[classes.indexOf(label)]
  const order = classes.map((_, i) => i).sort((a, b) => result.probabilities[b] - result.probabilities[a])
  const bars = order.map(i => element('li', {},
    element('span', {textContent: word(classes[i])}),
    element('span', {className: 'hear-bar', style: `--share: ${result.probabilities[i]}; --colour: ${colours[i]}`}),
    element('span', {textContent: percent(result.probabilities[i])})))
  const parts = result.timeline.map(part => {
    const text = `${part.start.toFixed(1)} to ${part.end.toFixed(1)} s: ${word(part.label)}, ${percent(part.probability)}`
    return [element('span', {title: text, style: `flex-grow: ${part.end - part.start}; --colour: ${colour(part.label)}`}), element('li', {textContent: text})]
  })
  shown.replaceChildren(
    element('h3', {textContent: word(result.label)}),
    element('p', {textContent: `${name}. ${sentence(result, classes)}`}),
    element('div', {className: 'hear-line', ariaHidden: 'true'}, ...parts.map(part => part[0])),
    element('ul', {className: 'hear-parts'}, ...parts.map(part => part[1])),
    ...result.label === 'silence' ? [] : [element('ol', {className: 'hear-bars'}, ...bars)])
}

let model, busy = false
async function hear(name, blob) {
  if (busy) return
  busy = true
  shown.replaceChildren()
  says.classList.remove('hear-wrong')
  try {
    if (!blob.size) throw Error(`${name}: the file is empty: copy it again`)
    if (blob.size > LARGEST) throw Error(`${name}: larger than ${LARGEST/1e6} MB: cut a piece out of it`)
    says.textContent = model ? 'Listening …' : `Loading the model (${box.dataset.megabytes} MB, once) …`
    model ||= await loadModel().catch(error => { throw Error(`The model could not be loaded (${error.message}): reload the page`) })
    const some = windows(await decode(await blob.arrayBuffer(), name, model.facts.sample_rate), model.facts.sample_rate), answers = []
    if (!some.length) throw Error(`${name}: no samples in it: record it again`)
    for (const window of some) {
      says.textContent = `Listening: ${window.end.toFixed(0)} of ${some.at(-1).end.toFixed(0)} s`
      await new Promise(resolve => setTimeout(resolve))                        // let the browser draw
      answers.push(await answer(window, model))
    }
    const result = summary(timeline(answers))
    show(name, result, model.facts)
    box.result = {...result, classes: model.facts.classes}                     // for tests, and for the curious at the console
    says.textContent = ''
  } catch (error) {
    says.classList.add('hear-wrong')
    says.textContent = error.message
  } finally { busy = false }
}

async function record(button) {
  if (button.recorder) return button.recorder.stop()
  try {
    const stream = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}})
    const recorder = button.recorder = new MediaRecorder(stream), pieces = [], stop = setTimeout(() => recorder.stop(), 1000*(LONGEST - 1))
    recorder.ondataavailable = event => pieces.push(event.data)
    recorder.onstop = () => {
      clearTimeout(stop)
      stream.getTracks().forEach(track => track.stop())
      button.recorder = null
      button.textContent = 'Record'
      hear('Your recording', new Blob(pieces, {type: recorder.mimeType}))
    }
    recorder.start()
    button.textContent = 'Stop'
  } catch { says.textContent = 'No microphone to be had: allow it for this page, or choose a file' }
}

function build() {
  const file = element('input', {type: 'file', accept: 'audio/*', id: 'hear-file', onchange: () => file.files[0] && hear(file.files[0].name, file.files[0])})
  const button = element('button', {type: 'button', textContent: 'Record', onclick: () => record(button)})
  const examples = box.dataset.examples.split(',').map(name => element('button', {type: 'button', textContent: name, onclick: async () =>
    hear(`A synthetic ${name}`, await (await fetch(new URL(`${name.replaceAll(' ', '_')}.wav`, place))).blob())}))
  const drop = element('div', {className: 'hear-drop'}, element('label', {htmlFor: 'hear-file', textContent: 'Drop a sound here, or choose one:'}), file,
    ...navigator.mediaDevices ? [element('p', {}, 'or ', button)] : [], element('p', {}, 'or try a synthetic one: ', ...examples.flatMap(example => [example, ' '])))
  box.ondragover = event => event.preventDefault()
  box.ondrop = event => {
    event.preventDefault()
    const [dropped] = event.dataTransfer.files
    if (dropped) hear(dropped.name, dropped)
  }
  says.setAttribute('role', 'status')
  shown.setAttribute('aria-live', 'polite')
  box.replaceChildren(drop, says, shown)
}

if (location.protocol !== 'file:') build()
else box.replaceChildren(element('p', {textContent: 'Opened as a file, this page may not load the model: browsers forbid it. Serve the folder over http, with python -m http.server, and open the address that it prints.'}))
