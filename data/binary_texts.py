"""The texts of the sample documents that are not UTF-8 text files; see make_binary_docs.py."""

from __future__ import annotations

PDFS: dict[str, tuple[str, list[str]]] = {
    "guides/backup-policy.pdf": ("Backup policy", [
        "Every system that holds data which cannot be made again is backed up. The owner of the "
        "system says how much may be lost, in minutes, and how long it may be away, in hours. "
        "These two numbers decide the method; the price follows from them, not the other way.",
        "Keep three copies, on two kinds of media, one of them in another building. One copy must "
        "be out of reach of the administrator's password, since that is what a thief will have.",
        "A restore is rehearsed every quarter by somebody who did not write the procedure. The "
        "time it took is written down and compared with the promise.",
    ]),
    "guides/lighthouse-lenses.pdf": ("How a lighthouse lens works", [
        "In 1822 Augustin Fresnel replaced the heavy mirror of the lighthouse by a lens cut into "
        "rings. Each ring bends the light just enough to send it out level, so that glass which "
        "would only be thick and dark in the middle can be left away.",
        "A lens of the first order is taller than a man and weighs several tonnes. It floats on a "
        "bath of mercury, and a clockwork with falling weights could turn it with the push of a "
        "finger. The pattern of flashes names the place: each light on a coast has its own.",
    ]),
    "guides/concrete.pdf": ("Why concrete hardens under water", [
        "Concrete does not dry, it reacts. Cement takes up water and grows needles of calcium "
        "silicate hydrate that lock sand and gravel together. Kept wet for a month it becomes "
        "stronger; dried too early it stops half way and turns to dust at the surface.",
        "Roman builders mixed lime with volcanic ash from Pozzuoli. Their harbour walls have "
        "stood in sea water for two thousand years, because the minerals that form in the cracks "
        "close them again.",
    ]),
    "guides/chess-endgame.pdf": ("King and pawn against king", [
        "With a king and one pawn against a bare king everything hangs on the opposition. Two "
        "kings face each other with one square between them; the side that must move has to give "
        "way. If the stronger king reaches the sixth rank in front of its pawn it always wins.",
        "A rook's pawn is the exception. The weaker king reaches the corner and cannot be driven "
        "out: the game is a draw by stalemate.",
    ]),
    "news/vaccine-fridge.pdf": ("Solar fridge keeps vaccines cold for five days", [
        "A refrigerator without batteries has kept vaccines between two and eight degrees for "
        "five days without sun. It stores cold instead of electricity: a jacket of ice is frozen "
        "by day and thaws slowly around the vials.",
        "Forty clinics in the mountains have been using it since spring. Not one dose has had to "
        "be thrown away, the health service reports, against one in eight the year before.",
    ]),
    "zh/海洋观测.pdf": ("海洋观测浮标", [
        "海洋观测浮标漂浮在海面上，测量水温、盐度、海流和波浪。数据每小时通过卫星传回岸上的数据中心。",
        "一些剖面浮标可以下潜到两千米深处，十天以后再浮上来，把沿途测到的温度和盐度一起发送出去。",
        "科学家用这些数据研究海洋怎样吸收热量，也用来改进台风路径的预报。",
    ]),
}  # fmt: skip

DOCX: dict[str, tuple[str, list[str], list[list[str]]]] = {
    "guides/release-checklist.docx": ("Release checklist", [
        "A release is a routine or it is an adventure. This list makes it a routine.",
        "Freeze the branch at noon. Run the long tests on the very artefact that will be shipped, "
        "not on one built again from the same commit.",
        "Roll out to one machine in a hundred, wait for an hour and compare its error rate with "
        "the rest. Only then go on. The way back must be one command, tried last week.",
    ], [["step", "who", "minutes"], ["long tests", "build robot", "55"],
        ["canary", "release engineer", "60"], ["full rollout", "release engineer", "30"]]),
    "guides/violin-care.docx": ("Looking after a violin", [
        "Wipe the rosin from strings and varnish after each practice with a soft dry cloth. Left "
        "alone it hardens and takes the varnish with it.",
        "Loosen the bow whenever it rests. In winter keep a humidifier in the case: spruce that "
        "dries out below forty per cent humidity cracks along the grain.",
    ], []),
    "guides/vineyard-pruning.docx": ("Pruning a vine", [
        "Prune in late winter, when the hard frosts are over and the sap is not yet rising. A cut "
        "that bleeds does little harm, but a bud that has swollen breaks off easily.",
        "Leave two canes of eight buds and two spurs of two. The canes bear this year, the spurs "
        "grow the canes of the next. Everything else goes on the fire.",
    ], [["training system", "buds per vine"], ["Guyot", "16 to 20"], ["cordon", "12 to 16"]]),
    "guides/meeting-minutes.docx": ("Minutes of the allotment society", [
        "Present were fourteen members; the chair welcomed two new ones from the waiting list.",
        "The water meter showed twice the use of last year. The leak was found under plot 22 and "
        "has been mended. The society will buy ten rain barrels.",
        "The seed exchange takes place on the first Sunday in March in the tool shed.",
    ], []),
    "news/marathon.docx": ("Rain makes for a slow marathon", [
        "The thirtieth city marathon was won in 2 hours 19 minutes, the slowest time since 1998. "
        "Runners had the wind in their faces along the river for eleven kilometres.",
        "The oldest finisher, aged eighty-one, took a little over six hours and was met at the "
        "line by four generations of her family.",
    ], []),
    "zh/图书馆通知.docx": ("图书馆借阅通知", [
        "从下个月起，读者每次可以借阅十本图书，期限为三十天，到期前可以在网上续借一次。",
        "逾期不再罚款，但在归还以前不能借新书。丢失图书的读者可以赔偿同一版本的新书。",
    ], [["服务", "时间"], ["借还书", "上午九点到晚上八点"], ["自习室", "全天开放"]]),
}  # fmt: skip

ENCODED: dict[str, tuple[str, str]] = {
    "zh/茶马古道.txt": ("gb18030", (
        "茶马古道\n\n茶马古道是古代连接云南、四川和西藏的商路。马帮从南方运来砖茶，翻过雪山，换回马匹、"
        "皮毛和药材。一趟往返常常要走半年，途中要经过急流上的溜索和悬崖边的小路。\n\n赶马人根据铃声认路，"
        "晚上在火塘边喝茶休息。砖茶压得很紧，不怕颠簸，也不容易发霉，在路上走得越久，味道反而越醇厚。\n")),
    "zh/数据备份制度.txt": ("gb18030", (
        "数据备份制度\n\n各部门应当按照数据的重要程度制定备份计划。核心数据库每天做一次完整备份，"
        "每小时做一次日志备份。备份介质必须存放在另一座建筑物内，并由专人保管。\n\n每个季度至少进行一次恢复演练，"
        "演练人员不得是编写方案的人员。演练结束以后，要记录恢复所用的时间和丢失的数据量，并报告给信息管理部门。\n")),
    "zh/夜市小吃.txt": ("big5", (
        "夜市小吃\n\n傍晚六點，廟口的攤位陸續點起燈。賣蚵仔煎的老闆把鮮蚵撒在鐵板上，淋上番薯粉漿，"
        "打一顆雞蛋，再鋪上小白菜，香味很快就飄滿整條街。\n\n隔壁的豆花店從祖母那一代開到現在，"
        "每天清晨磨豆子，用石膏點出細嫩的豆花，加上薑汁糖水和花生。許多搬到外地的人，回來的第一件事，就是坐在這裡吃一碗。\n")),
    "guides/fjord-ferries.txt": ("utf-16", (
        "Electric ferries on the fjord\n\nThe first battery ferry on the fjord began in 2015. It "
        "crosses in twenty minutes and charges for ten, from a battery on the quay that fills "
        "itself slowly between two arrivals, because the village line could not carry the peak.\n\n"
        "Ten years later seventy ferries run like this. The crews say that they miss nothing of "
        "the diesel except its warmth in January.\n")),
    "guides/fromages-de-montagne.txt": ("latin-1", (
        "Les fromages de montagne\n\nÀ la fin de l'été, les troupeaux redescendent des alpages et "
        "les caves se remplissent. Le lait d'été, riche en herbes et en fleurs, donne une pâte "
        "plus jaune et un goût plus fruité que celui d'hiver.\n\nChaque meule est retournée et "
        "frottée au sel deux fois par semaine. Après huit mois, l'affineur la sonde : il prélève "
        "une mince carotte de pâte, la sent, en goûte un morceau et remet le reste à sa place.\n")),
}  # fmt: skip
