// The page that classifies a sound in the browser: the exported model, run by onnxruntime-web. It gives the predictions of urbansounds_nb.predict.
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

// --- as in 06_predict: windows, segments, merged segments, the prediction for the whole sound

function windows(wave, rate) {
  const size = LENGTH*rate, cut = []
  let covered = 0
  for (let at = 0; wave.length - at >= size; at += HOP*rate) {
    cut.push([at, at + size])
    covered = at + size
  }
  if (wave.length - covered > (covered ? Math.floor(rate/40) : 0)) cut.push([Math.max(0, wave.length - size), wave.length])
  return cut.map(([start, end]) => ({start: start/rate, end: end/rate, wave: wave.slice(start, end)}))
}

function isSilence(wave, rate, facts) {
  const mean = wave.reduce((a, b) => a + b, 0)/wave.length, n = Math.max(1, Math.floor(20*wave.length/rate)), power = []
  const longer = wave.length % n, size = Math.floor(wave.length/n)             // as NumPy's array_split
  for (let i = 0, at = 0; i < n; i++) {
    const end = at + size + (i < longer)
    let sum = 0
    for (let k = at; k < end; k++) sum += (wave[k] - mean)**2
    power.push(sum/(end - at))
    at = end
  }
  const loudest = Math.max(...power), heard = power.filter(x => x >= 1e-4*loudest)       // without pauses
  return loudest <= 10**(facts.silence_db/10) && loudest <= 1.6*heard.reduce((a, b) => a + b, 0)/heard.length
}

async function segment({start, end, wave}, {session, ort, facts}) {
  if (isSilence(wave, facts.sample_rate, facts)) {
    return {start, end, label: 'silence', nearest: '', probability: 0, distance: 0, reason: '', probabilities: facts.classes.map(() => 0)}
  }
  const {probabilities: {data}, ood_distance} = await session.run({wave: new ort.Tensor('float32', wave, [1, wave.length])})
  const probabilities = [...data], probability = Math.max(...probabilities), distance = ood_distance.data[0], reasons = []
  const nearest = facts.classes[probabilities.indexOf(probability)]
  if (!(probability >= facts.min_confidence)) reasons.push(`probability below ${percent(facts.min_confidence)}`)
  if (!(distance <= facts.ood_threshold)) reasons.push(`unlike all classes (distance above ${facts.ood_threshold.toFixed(1)})`)
  return {start, end, label: reasons.length ? 'unknown' : nearest, nearest, probability, distance, reason: reasons.join(' and '), probabilities}
}

function mixed(a, b, share, classes) {
  const mix = (old, other) => old + share*(other - old), probabilities = a.probabilities.map((p, i) => mix(p, b.probabilities[i]))
  let nearest = a.nearest && classes[probabilities.indexOf(Math.max(...probabilities))]
  if (classes.includes(a.label)) nearest = a.label
  const reason = [...new Set([...a.reason.split(' or '), ...b.reason.split(' or ')])].join(' or ')
  return {...a, end: b.end, nearest, probability: nearest ? probabilities[classes.indexOf(nearest)] : 0, distance: mix(a.distance, b.distance), reason, probabilities}
}

function merge(segments, classes) {
  const merged = []
  let middle = 0, count = 0
  for (const one of segments) {
    const before = middle, last = merged.at(-1)
    middle = (one.start + one.end)/2
    if (last && last.label === one.label) {
      count += 1
      merged[merged.length - 1] = mixed(last, one, 1/count, classes)
      continue
    }
    const start = last ? (before + middle)/2 : one.start
    if (last) last.end = start
    merged.push({...one, start})
    count = 1
  }
  return merged
}

function summarise(parts, classes) {
  const seconds = {}
  for (const part of parts) seconds[part.label] = (seconds[part.label] || 0) + part.end - part.start
  const rank = label => (label === 'silence' ? 0 : 1e9) + seconds[label]
  const label = Object.keys(seconds).reduce((best, other) => rank(other) > rank(best) ? other : best)
  let whole, covered = 0
  for (const part of parts.filter(part => part.label === label)) {
    covered += part.end - part.start
    whole = mixed(whole || part, part, (part.end - part.start)/covered, classes)
  }
  return {...whole, label, covered, seconds: parts.at(-1).end, segments: parts}
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

function sentence({label, nearest, covered, seconds, probability, distance, reason}) {
  if (label === 'silence') return 'The recording contains nothing but rounding noise.'
  if (label === 'unknown') return `The nearest class is ${word(nearest)} (probability ${percent(probability)}, distance ${distance.toFixed(1)}). Refused: ${reason}.`
  return `Probability ${percent(probability)}, in ${covered.toFixed(1)} of ${seconds.toFixed(1)} s.`
}

function show(name, result, {classes, colours}) {
  const colour = label => ({silence: '#fff', unknown: '#d3d3d3'})[label] || colours[classes.indexOf(label)]
  const order = classes.map((_, i) => i).sort((a, b) => result.probabilities[b] - result.probabilities[a])
  const bars = order.map(i => element('li', {},
    element('span', {textContent: word(classes[i])}),
    element('span', {className: 'hear-bar', style: `--share: ${result.probabilities[i]}; --colour: ${colours[i]}`}),
    element('span', {textContent: percent(result.probabilities[i])})))
  const parts = result.segments.map(part => {
    const nearest = part.label === 'unknown' ? `nearest class ${word(part.nearest)}, ` : ''
    const text = `${part.start.toFixed(1)} to ${part.end.toFixed(1)} s: ${word(part.label)}` + (part.nearest ? `, ${nearest}${percent(part.probability)}` : '')
    return [element('span', {title: text, style: `flex-grow: ${part.end - part.start}; --colour: ${colour(part.label)}`}), element('li', {textContent: text})]
  })
  shown.replaceChildren(
    element('h3', {textContent: word(result.label)}),
    element('p', {textContent: `${name}. ${sentence(result)}`}),
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
    says.textContent = model ? 'Classifying …' : `Loading the model (${box.dataset.megabytes} MB, once) …`
    model ||= await loadModel().catch(error => { throw Error(`The model could not be loaded (${error.message}): reload the page`) })
    const some = windows(await decode(await blob.arrayBuffer(), name, model.facts.sample_rate), model.facts.sample_rate), answers = []
    if (!some.length) throw Error(`${name}: no samples in it: record it again`)
    for (const window of some) {
      says.textContent = `Classifying: ${window.end.toFixed(0)} of ${some.at(-1).end.toFixed(0)} s`
      await new Promise(resolve => setTimeout(resolve))                        // let the browser draw
      answers.push(await segment(window, model))
    }
    const result = summarise(merge(answers, model.facts.classes), model.facts.classes)
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
  } catch { says.textContent = 'No microphone: allow it for this page, or choose a file' }
}

function build() {
  const file = element('input', {type: 'file', accept: 'audio/*', id: 'hear-file', onchange: () => file.files[0] && hear(file.files[0].name, file.files[0])})
  const button = element('button', {type: 'button', textContent: 'Record', onclick: () => record(button)})
  const examples = box.dataset.examples.split(',').map(name => element('button', {type: 'button', textContent: name, onclick: async () =>
    hear(name, await (await fetch(new URL(`${name.replaceAll(' ', '_')}.wav`, place))).blob())}))
  const drop = element('div', {className: 'hear-drop'}, element('label', {htmlFor: 'hear-file', textContent: 'Drop a sound here, or choose one:'}), file,
    ...navigator.mediaDevices ? [element('p', {}, 'or ', button)] : [], element('p', {}, 'or try an example: ', ...examples.flatMap(example => [example, ' '])))
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
