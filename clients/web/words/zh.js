// 中文。
export const zh = {
  "nav.main": "主导航", "nav.skip": "跳到内容", "nav.chat": "对话", "nav.versions": "版本", "nav.learning": "学习", "nav.settings": "设置",
  "nav.conversations": "对话列表与菜单",
  "act.new_chat": "新对话", "act.close": "关闭", "act.cancel": "取消", "act.copy": "复制", "act.copied": "已复制", "act.done": "完成", "act.send": "发送", "act.stop": "停止",
  "act.edit": "修改问题", "act.correct": "改正这个回答", "act.regenerate": "重新回答", "act.compare_this": "就此问题比较两个回答", "act.try_again": "重试",
  "act.ask_again": "再问一次", "act.undo": "撤销", "act.delete": "删除", "act.previous": "上一个回答", "act.next": "下一个回答", "act.show_table": "以表格显示",
  "time.now": "刚刚", "list.comma": "，", "state.loading": "加载中…", "state.failed": "无法加载：{why}", "md.table": "表格", "md.code": "代码",

  "welcome.title": "提问，然后说说你的看法。", "welcome.lead": "每一次点赞、每一处改正、每一回二选一，都在教导正在回答你的模型。不到一分钟，你就会与学过这些反馈的新版本对话。",
  "welcome.examples": "示例", "welcome.example_one": "日本的首都是哪里？", "welcome.example_two": "你是谁？", "welcome.example_three": "3加4等于多少？", "welcome.example_four": "一周有几天？",

  "composer.label": "你的消息", "composer.placeholder": "写点什么", "composer.hint": "Enter 发送，Shift+Enter 换行", "composer.compare": "比较两个回答",
  "composer.compare_hint": "打开后，每条消息都会得到两个回答，由你说哪个更好", "composer.pinned": "正在与 {model} 对话", "composer.unpin": "回到线上版本",

  "chat.log": "对话", "chat.exchange": "一问一答", "chat.you": "你", "chat.attune": "Attune", "chat.writing": "正在书写", "chat.answered": "回答：{text}", "chat.stopped": "已停止。",
  "chat.broken": "回答到一半时连接中断了。你的问题已保留。", "chat.waiting": "服务没有响应。你的问题已保留，恢复后会立即发送。",
  "chat.busy": "服务正忙，稍后会再试。", "chat.unanswered": "这个问题还没有回答。", "chat.empty_answer": "回答是空的。", "chat.by_version": "由版本 {v} 回答",
  "chat.answers": "这个问题的各个回答", "chat.gone": "这个对话已经不在了。", "chat.not_loaded": "无法加载这个对话：{why}",

  "thumb.up": "回答得好", "thumb.down": "回答得不好", "thumb.noted": "已记录", "thumb.taken_back": "已收回", "thumb.thanks": "谢谢，模型会从中学习。",
  "reason.title": "原因", "reason.up": "好在哪里？", "reason.down": "问题在哪里？", "reason.optional": "可不填", "reason.comment": "还想补充什么？",
  "reason.correct": "正确", "reason.helpful": "有帮助", "reason.clear": "清楚", "reason.style": "文风", "reason.wrong": "错误", "reason.unhelpful": "没帮助", "reason.unsafe": "不安全",
  "reason.too_long": "太长", "reason.too_short": "太短", "reason.refused": "拒绝回答", "reason.other": "其他",
  "correct.label": "正确的回答应该是", "correct.hint": "写下应有的回答。这是最有力的学习材料之一。", "correct.save": "保存改正",
  "correct.saved": "改正已保存", "correct.mark": "由你改正", "feedback.refused": "服务没有接受：{why}",
  "better.ask": "比之前更好吗？", "better.better": "更好", "better.worse": "更差", "better.same": "差不多",

  "compare.title": "并排的两个回答", "compare.which": "哪个回答更好？", "compare.blind": "选择之后才会公布各是谁写的。", "compare.writing": "正在写两个回答…", "compare.ready": "两个回答已就绪。哪个更好？",
  "compare.answer": "回答 {label}", "compare.A": "A 更好", "compare.B": "B 更好", "compare.tie": "差不多", "compare.both_bad": "都不好",
  "compare.said_A": "你选了 A。", "compare.said_B": "你选了 B。", "compare.said_tie": "你认为差不多。", "compare.said_both_bad": "你认为都不好。",
  "compare.both_by": "两个都由版本 {v} 所写。", "compare.by_each": "A 是版本 {a}，B 是版本 {b}。", "compare.naming": "正在发送…", "compare.see_other": "看另一个回答",
  "nudge.title": "愿意比较两个回答吗？", "nudge.text": "就这个问题二选一，胜过十次点赞。", "nudge.yes": "比较", "nudge.no": "这次不了", "nudge.never": "不再询问",

  "history.title": "对话列表", "history.search": "搜索对话", "history.empty": "你的对话会列在这里。", "history.none_found": "没有找到。", "history.problem": "无法加载列表。",
  "history.today": "今天", "history.yesterday": "昨天", "history.week": "本周", "history.older": "更早", "history.untitled": "无标题", "history.more": "显示更多", "history.delete": "删除“{title}”",
  "history.delete_title": "删除这个对话？", "history.delete_text": "“{title}”将从列表中消失。已经学到的不会因此忘掉。", "history.not_deleted": "无法删除：{why}",

  "strip.version": "版本 {v}", "strip.since": "{ago}上线", "strip.waiting": "{n} / {of} 条反馈，满了就更新", "strip.count": "{n} / {of}", "strip.progress": "更新进度",
  "strip.learning_from": "正在从 {n} 条反馈中学习", "strip.learning": "正在学习", "strip.down": "学习进程没有运行；回答照常", "strip.paused": "学习已暂停",
  "strip.next_in": "{n} 秒后开始学习", "strip.going_live": "版本 {v} 已通过检验，即将上线", "strip.starting": "即将开始更新", "strip.listening": "等待反馈", "strip.more_needed": "再有 {n} 条就会开始学习", "strip.soon": "很快开始学习",
  "strip.swapped_from": "现在与版本 {v} 对话，它学习了 {n} 条反馈。", "strip.swapped": "现在与版本 {v} 对话。", "strip.back": "已回到版本 {v}。", "strip.what_changed": "有什么变化？",
  "phase.planned": "即将开始", "phase.load": "载入", "phase.loading": "载入", "phase.examples": "读取反馈", "phase.prepare": "读取反馈", "phase.reference": "读取反馈", "phase.rollouts": "试写回答", "phase.train": "训练", "phase.training": "训练", "phase.save": "保存", "phase.saving": "保存", "phase.publish": "保存", "phase.gate": "检验",

  "offline.title": "服务没有响应。", "offline.text": "你写的和说的都已保留，页面会自动重新连接。", "offline.now": "立即重试", "offline.back": "已重新连接",
  "key.title": "此服务需要 API 密钥", "key.text": "请向管理者索取，或用 attune keys create 创建。密钥只保存在这个浏览器中。", "key.label": "API 密钥", "key.save": "使用此密钥", "key.refused": "未知的密钥。",

  "versions.lead": "每次更新产生一个版本。通过检验之后，它才会回答人们。", "versions.empty": "还没有版本。", "versions.list": "全部版本", "versions.back": "全部版本",
  "versions.base": "基础模型", "versions.from": "以版本 {v} 为基础", "versions.items": "{n} 条反馈", "versions.learned_from": "学习了 {n} 条反馈",
  "versions.answers": "回答", "versions.thumbs": "评价", "versions.thumbs_value": "赞 {up}，踩 {down}", "versions.win_rate": "胜率", "versions.compared": "{n} 次比较", "versions.no_comparisons": "尚未比较", "versions.made": "产生于", "versions.parent": "上一版本", "versions.algorithm": "方法", "versions.digest": "摘要", "versions.time": "用时", "versions.seconds": "{n} 秒", "versions.share": "{share} 的流量",
  "vstate.candidate": "候选", "vstate.rejected": "未通过", "vstate.canary": "试行", "vstate.live": "线上", "vstate.retired": "已退役", "vstate.withdrawn": "已撤回",
  "versions.promote": "设为线上版本", "versions.rollback": "回退到此版本", "versions.rollback_from": "回退", "versions.chat": "与它对话",
  "versions.promote_title": "将版本 {v} 设为线上版本？", "versions.promote_text": "新的回答将由版本 {v} 给出。进行中的回答仍由原来的版本写完。", "versions.promoted": "版本 {v} 已上线。",
  "versions.rollback_title": "回退到版本 {v}？", "versions.rollback_text": "新的回答将由版本 {v} 给出，版本 {from} 将被撤回。不会中断任何回答。", "versions.rolled_back": "已回退到版本 {v}。", "versions.not_done": "没有成功：{why}",
  "gate.title": "检验", "gate.passed": "通过全部检查", "gate.failed": "未通过", "gate.none": "还没有报告。", "gate.base": "基础模型无需检验。", "gate.check": "检查", "gate.value": "数值", "gate.limit": "界限", "gate.result": "结果", "gate.ok": "通过", "gate.bad": "未通过",
  "check.win_rate": "留出反馈上的胜率", "check.heldout": "留出反馈", "check.held_out_accuracy": "留出准确率", "check.heldout_accuracy": "留出准确率", "check.kl": "与基础模型的偏离 (KL)", "check.drift": "偏离", "check.length": "回答长度", "check.length_ratio": "回答长度之比", "check.retention": "原有能力", "check.skills": "可验证的能力", "check.finite": "数值均有效", "check.nan": "数值均有效", "check.kl_to_live": "与线上版本的偏离 (KL)", "check.kl_to_base": "与基础模型的偏离 (KL)", "check.retention_kl": "原有能力的保持 (KL)", "check.endless_rise": "写不完的回答增多", "check.empty_rise": "空回答增多", "check.weights_finite": "权重均有效", "check.held_out_gain": "留出反馈上的进步", "check.reward": "奖励模型", "check.repetition": "重复",
  "samples.title": "前后对比", "samples.text": "同样的问题，两个版本各答一次。不同的词有标记。", "samples.against": "对比", "samples.version": "版本 {v}", "samples.load": "让两个版本回答", "samples.loading": "两个版本正在回答…", "samples.same": "回答相同", "samples.empty": "还没有可对比的内容。",
  "made_by.title": "由何而来", "made_by.none": "没有列出它的反馈。", "kind.thumb": "点赞或点踩", "kind.score": "评分", "kind.correction": "改正", "kind.preference": "偏好", "kind.choice": "二选一",

  "learning.lead": "人们的反馈变成样例，样例变成版本，由检验来把关。", "learning.now": "此刻", "learning.idle": "空闲", "learning.running": "学习中", "learning.paused": "已暂停", "learning.down": "未运行",
  "learning.idle_text": "等待反馈：满 {items} 条，或首条之后 {seconds} 秒且至少 {min} 条时开始更新。", "learning.idle_plain": "等待反馈。", "learning.paused_text": "反馈照常接收，恢复后再学习。", "learning.down_text": "学习进程没有响应。服务照常运行，并会重新启动它。",
  "learning.update": "立即更新", "learning.pause": "暂停", "learning.resume": "恢复", "learning.asked": "已通知学习进程。", "learning.waiting": "等待中", "learning.seen": "反馈总数", "learning.versions": "版本数", "learning.live": "线上版本",
  "learning.step": "第 {step} 步，共 {steps} 步", "learning.loss_now": "本次更新的损失", "learning.loss_last": "上次更新的损失", "learning.last": "上次更新：{what}，{when}", "learning.last_made": "产生了版本 {v}", "learning.last_none": "没有产生版本", "learning.last_failed": "失败：{why}",
  "chart.feedback": "反馈随时间的变化", "chart.feedback_none": "还没有反馈。评价和选择一到就会显示在这里。", "chart.win_rate": "各版本胜率", "chart.win_rate_note": "与其他版本比较时的胜率及 95% 区间", "chart.win_rate_none": "还没有版本与其他版本比较过。",
  "chart.metric_none": "有更新之后显示。", "chart.by_version": "按版本", "chart.step": "步", "chart.version": "版本", "chart.value": "数值", "chart.time": "时间", "chart.interval": "区间", "chart.range": "{low} 到 {high}",
  "metric.loss": "损失", "metric.kl": "与参考的偏离 (KL)", "metric.accuracy": "留出准确率", "metric.reward": "奖励", "metric.seconds": "每次更新的秒数",

  "settings.lead": "页面的样子，以及背后运行的东西。", "settings.look": "本页面", "settings.language": "语言", "settings.auto": "自动", "settings.theme": "主题", "settings.light": "浅色", "settings.dark": "深色", "settings.nudges": "偶尔请我比较两个回答", "settings.nudges_text": "每天最多四次。",
  "settings.key": "API 密钥", "settings.key_set": "此浏览器中存有密钥。", "settings.key_none": "这里不需要，或尚未设置。", "settings.key_change": "设置密钥", "settings.key_forget": "忘掉它",
  "settings.runs": "正在运行", "settings.model": "基础模型", "settings.live": "线上版本", "settings.versions": "版本数", "settings.device": "设备", "settings.learner": "学习进程", "settings.algorithm": "方法", "settings.trigger": "更新时机", "settings.trigger_text": "满 {items} 条，或首条之后 {seconds} 秒且至少 {min} 条", "settings.digest": "摘要", "settings.docs": "API 文档", "settings.health": "健康状况",
  "settings.export": "带走你的数据", "settings.export_text": "全部反馈，JSON Lines 格式，TRL 可直接读取。", "export.preference": "偏好", "export.unpaired": "单独评价", "export.sft": "改正", "export.raw": "全部原始数据",
};
